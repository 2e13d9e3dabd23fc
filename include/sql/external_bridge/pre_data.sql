-- external_bridge: the tables, bare. Rows go in about twice as fast without keys and indexes: post_data.sql adds them.
-- Old data decides, not wishes: NOT NULL are ids, parents, positions, map keys, owners, required references, unique columns.
-- The defaults are for the services, which insert after the cut-over. extra holds the fields that have no column and the
-- values that their column cannot hold.

-- headers maps free names to values, so it stays jsonb.
CREATE TABLE IF NOT EXISTS public.webhooks (
    id                uuid        NOT NULL DEFAULT gen_random_uuid(),
    user_id           uuid        NOT NULL,
    provider          text,
    url               text,
    events            text[],
    secret            text,
    active            boolean,
    headers           jsonb,
    last_triggered_at timestamptz,
    created_at        timestamptz          DEFAULT now(),
    updated_at        timestamptz,
    extra             jsonb
);

-- Tens of thousands of rows for a busy webhook.
CREATE TABLE IF NOT EXISTS public.webhook_logs (
    id          uuid             NOT NULL,
    webhook_id  uuid             NOT NULL,
    ordinal     integer          NOT NULL,
    source_id   uuid,
    event       text,
    status      text,
    status_code integer,
    attempt     integer,
    payload     jsonb,
    response    jsonb,
    error       text,
    duration_ms double precision,
    created_at  timestamptz,
    extra       jsonb,
    CONSTRAINT webhook_logs_status_check
        CHECK (status IN ('success', 'failed', 'pending'))
);
