"""challenge-service: challenges and who takes part in them."""

from mongo2pg.model import Child, Collection, Column, Domain

CHALLENGE = Domain(
    name="challenge",
    description="Challenges and their participants (challenge-service).",
    collections=(
        Collection(
            name="challenges",
            table="challenges",
            change_key="updatedAt",
            columns=(
                Column("userId", "uuid", required=True, references="users"),
                Column("taskId", "uuid", references="tasks"),
                Column(
                    "type",
                    "text",
                    enum=("quiz", "puzzle", "coding_challenge", "timed_completion", "streak", "multiplayer", "custom"),
                ),
                Column("title", "text"),
                Column("description", "text"),
                Column("difficulty", "text", enum=("easy", "medium", "hard", "adaptive")),
                Column("difficultyScore", "double precision"),
                Column("status", "text", enum=("pending", "active", "completed", "failed", "expired")),
                Column("configuration", "jsonb"),
                Column("pointsReward", "double precision"),
                Column("bonusMultiplier", "double precision"),
                Column("completionData.completedAt", "timestamptz"),
                Column("completionData.completionTime", "double precision"),
                Column("completionData.score", "double precision"),
                Column("completionData.accuracy", "double precision"),
                Column("completionData.attemptsUsed", "integer"),
                Column("completionData.hintsUsed", "integer"),
                Column("aiGenerated", "boolean"),
                Column("aiMetadata.model", "text"),
                Column("aiMetadata.prompt", "text"),
                Column("aiMetadata.generationTime", "double precision"),
                Column("expiresAt", "timestamptz"),
                Column("createdAt", "timestamptz"),
                Column("updatedAt", "timestamptz"),
            ),
            children=(
                # Nothing is unique but the position: in old data a user takes part twice.
                Child(
                    table="challenge_participants",
                    path="participants",
                    kind="documents",
                    columns=(
                        Column("userId", "uuid", references="users"),
                        Column("status", "text", enum=("invited", "joined", "completed", "withdrawn")),
                        Column("joinedAt", "timestamptz"),
                        Column("completedAt", "timestamptz"),
                        Column("score", "double precision"),
                        Column("attempts", "integer"),
                        Column("answers", "jsonb"),
                    ),
                ),
            ),
            ignored=("__v",),
        ),
    ),
)
