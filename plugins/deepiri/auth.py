"""auth-service: accounts with their roles and sessions, skill trees, social connections, progress points."""

from mongo2pg.model import Child, Collection, Column, Domain

AUTH = Domain(
    name="auth",
    description="Accounts, roles, sessions, skills, social connections and progress points (auth-service).",
    collections=(
        Collection(
            name="users",
            table="users",
            change_key="updatedAt",
            columns=(
                Column("email", "text", required=True),
                Column("password", "text", sensitive=True),
                Column("name", "text"),
                Column("isActive", "boolean"),
                Column("profilePicture", "text"),
                Column("bio", "text"),
                Column("preferences", "jsonb"),
                Column("createdAt", "timestamptz"),
                Column("updatedAt", "timestamptz"),
            ),
            children=(
                Child(
                    table="user_roles",
                    path="roles",
                    kind="scalars",
                    columns=(Column("", "text", "role", required=True),),
                    unique_value=True,
                ),
                Child(
                    table="user_sessions",
                    path="refreshTokens",
                    kind="documents",
                    columns=(
                        Column("token", "text", sensitive=True),
                        Column("createdAt", "timestamptz"),
                        Column("expiresAt", "timestamptz"),
                    ),
                ),
            ),
            unique=(("email",),),
            ignored=("__v",),
        ),
        Collection(
            name="skilltrees",
            table="skill_trees",
            change_key="updatedAt",
            columns=(
                Column("userId", "uuid", required=True, references="users"),
                Column("skillPoints", "integer"),
                Column("totalSkillLevel", "integer"),
                Column("lastUpdated", "timestamptz"),
                Column("createdAt", "timestamptz"),
                Column("updatedAt", "timestamptz"),
            ),
            children=(
                # A map, for skills were added to the 22 that the schema names.
                Child(
                    table="skills",
                    path="skills",
                    kind="map",
                    key="skill_name",
                    columns=(
                        Column("level", "integer"),
                        Column("xp", "bigint"),
                        Column("unlocked", "boolean"),
                    ),
                ),
            ),
            unique=(("user_id",),),
            ignored=("__v",),
        ),
        Collection(
            name="socialconnections",
            table="social_connections",
            change_key="updatedAt",
            columns=(
                Column("userId", "uuid", required=True, references="users"),
                Column("connectedUserId", "uuid", required=True, references="users"),
                Column("connectionType", "text", enum=("friend", "follower", "following", "teammate", "rival")),
                Column("status", "text", enum=("pending", "accepted", "blocked")),
                Column("metadata.mutualConnections", "integer"),
                Column("metadata.sharedChallenges", "integer"),
                Column("metadata.collaborationScore", "double precision"),
                Column("createdAt", "timestamptz"),
                Column("updatedAt", "timestamptz"),
            ),
            unique=(("user_id", "connected_user_id"),),
            ignored=("__v",),
        ),
        Collection(
            name="progresspoints",
            table="progress_points",
            change_key="timestamp",
            columns=(
                Column("userId", "uuid", required=True, references="users"),
                Column("timestamp", "timestamptz"),
                Column("metric", "text"),
                Column("value", "double precision"),
                Column("metadata", "jsonb"),
            ),
            append_only=True,
            ignored=("__v",),
            # A TTL index drops points after two years.
            deletes="ignore",
            expires=("timestamp", 63_072_000),
        ),
    ),
)
