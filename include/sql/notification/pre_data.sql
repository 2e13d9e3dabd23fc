-- notification: the tables, bare. Rows go in about twice as fast without keys and indexes: post_data.sql adds them.
-- Old data decides, not wishes: NOT NULL are ids, parents, positions, map keys, owners, required references, unique columns.
-- The defaults are for the services, which insert after the cut-over. extra holds the fields that have no column and the
-- values that their column cannot hold.

-- data holds whatever a kind of notification needs, so it stays jsonb.
CREATE TABLE IF NOT EXISTS public.notifications (
    id                uuid        NOT NULL DEFAULT gen_random_uuid(),
    user_id           uuid        NOT NULL,
    type              text,
    title             text,
    message           text,
    data              jsonb,
    priority          text,
    channels          text[],
    status            text,
    scheduled_for     timestamptz,
    sent_at           timestamptz,
    delivered_at      timestamptz,
    read_at           timestamptz,
    expires_at        timestamptz,
    retry_count       integer,
    error_message     text,
    metadata_source   text,
    metadata_campaign text,
    metadata_version  text,
    created_at        timestamptz          DEFAULT now(),
    updated_at        timestamptz,
    extra             jsonb,
    CONSTRAINT notifications_priority_check
        CHECK (priority IN ('low', 'medium', 'high', 'urgent')),
    CONSTRAINT notifications_channels_check
        CHECK (channels <@ ARRAY['push', 'email', 'sms', 'in_app']::text[]),
    CONSTRAINT notifications_status_check
        CHECK (status IN ('pending', 'sent', 'delivered', 'read', 'failed'))
);

CREATE TABLE IF NOT EXISTS public.push_subscriptions (
    id              uuid        NOT NULL DEFAULT gen_random_uuid(),
    user_id         uuid        NOT NULL,
    endpoint        text        NOT NULL,
    expiration_time timestamptz,
    keys_p256dh     text,
    keys_auth       text,
    user_agent      text,
    created_at      timestamptz          DEFAULT now(),
    updated_at      timestamptz,
    extra           jsonb
);
