-- auth: the tables, bare. Rows go in about twice as fast without keys and indexes: post_data.sql adds them.
-- Old data decides, not wishes: NOT NULL are ids, parents, positions, map keys, owners, required references, unique columns.
-- The defaults are for the services, which insert after the cut-over. extra holds the fields that have no column and the
-- values that their column cannot hold.

CREATE TABLE IF NOT EXISTS public.users (
    id              uuid        NOT NULL DEFAULT gen_random_uuid(),
    email           text        NOT NULL,
    password        text,
    name            text,
    is_active       boolean,
    profile_picture text,
    bio             text,
    preferences     jsonb,
    created_at      timestamptz          DEFAULT now(),
    updated_at      timestamptz,
    extra           jsonb
);

-- One row per role: of a role that the document repeats the first stays, the others are rejected elements.
CREATE TABLE IF NOT EXISTS public.user_roles (
    id      uuid    NOT NULL,
    user_id uuid    NOT NULL,
    ordinal integer NOT NULL,
    role    text    NOT NULL,
    extra   jsonb
);

CREATE TABLE IF NOT EXISTS public.user_sessions (
    id         uuid        NOT NULL,
    user_id    uuid        NOT NULL,
    ordinal    integer     NOT NULL,
    source_id  uuid,
    token      text,
    created_at timestamptz,
    expires_at timestamptz,
    extra      jsonb
);

CREATE TABLE IF NOT EXISTS public.skill_trees (
    id                uuid        NOT NULL DEFAULT gen_random_uuid(),
    user_id           uuid        NOT NULL,
    skill_points      integer,
    total_skill_level integer,
    last_updated      timestamptz,
    created_at        timestamptz          DEFAULT now(),
    updated_at        timestamptz,
    extra             jsonb
);

-- One row per key of the map: skills were added to the 22 that the schema names, so they cannot be columns.
CREATE TABLE IF NOT EXISTS public.skills (
    id            uuid    NOT NULL,
    skill_tree_id uuid    NOT NULL,
    skill_name    text    NOT NULL,
    level         integer,
    xp            bigint,
    unlocked      boolean,
    extra         jsonb
);

CREATE TABLE IF NOT EXISTS public.social_connections (
    id                           uuid             NOT NULL DEFAULT gen_random_uuid(),
    user_id                      uuid             NOT NULL,
    connected_user_id            uuid             NOT NULL,
    connection_type              text,
    status                       text,
    metadata_mutual_connections  integer,
    metadata_shared_challenges   integer,
    metadata_collaboration_score double precision,
    created_at                   timestamptz               DEFAULT now(),
    updated_at                   timestamptz,
    extra                        jsonb,
    CONSTRAINT social_connections_connection_type_check
        CHECK (connection_type IN ('friend', 'follower', 'following', 'teammate', 'rival')),
    CONSTRAINT social_connections_status_check
        CHECK (status IN ('pending', 'accepted', 'blocked'))
);

-- Append-only. MongoDB drops points after 63,072,000 s (two years) through a TTL index, PostgreSQL has no such thing:
-- whoever wants them gone here deletes them.
CREATE TABLE IF NOT EXISTS public.progress_points (
    id        uuid             NOT NULL DEFAULT gen_random_uuid(),
    user_id   uuid             NOT NULL,
    timestamp timestamptz,
    metric    text,
    value     double precision,
    metadata  jsonb,
    extra     jsonb
);
