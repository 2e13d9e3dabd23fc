-- platform_analytics: the tables, bare. Rows go in about twice as fast without keys and indexes: post_data.sql adds them.
-- Old data decides, not wishes: NOT NULL are ids, parents, positions, map keys, owners, required references, unique columns.
-- The defaults are for the services, which insert after the cut-over. extra holds the fields that have no column and the
-- values that their column cannot hold.

-- Append-only. user_id is NULL for anonymous events. context is open-ended, so it stays jsonb.
CREATE TABLE IF NOT EXISTS public.analytics_events (
    id         uuid        NOT NULL DEFAULT gen_random_uuid(),
    user_id    uuid,
    session_id text,
    event_type text,
    properties jsonb,
    context    jsonb,
    timestamp  timestamptz,
    created_at timestamptz          DEFAULT now(),
    extra      jsonb
);
