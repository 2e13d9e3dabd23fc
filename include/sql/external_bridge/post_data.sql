-- external_bridge: keys and indexes, built once the tables are filled. Each statement runs where the catalog lacks its name.
-- Primary keys come first: foreign keys need them.

-- Primary keys.
ALTER TABLE public.webhooks ADD CONSTRAINT webhooks_pkey PRIMARY KEY (id);
ALTER TABLE public.webhook_logs ADD CONSTRAINT webhook_logs_pkey PRIMARY KEY (id);

-- Unique keys. Those of child tables are DEFERRABLE, which has them checked at the end of a statement: one statement
-- may reorder an array.
ALTER TABLE public.webhook_logs
    ADD CONSTRAINT webhook_logs_webhook_id_ordinal_key UNIQUE (webhook_id, ordinal) DEFERRABLE;

-- Foreign keys. A user's rows go with the user, a row's children with the row.
ALTER TABLE public.webhooks
    ADD CONSTRAINT webhooks_user_id_fkey FOREIGN KEY (user_id)
    REFERENCES public.users (id) ON DELETE CASCADE;
ALTER TABLE public.webhook_logs
    ADD CONSTRAINT webhook_logs_webhook_id_fkey FOREIGN KEY (webhook_id)
    REFERENCES public.webhooks (id) ON DELETE CASCADE;

-- Indexes for the foreign keys that lead no key: the cascade of a deleted row looks for its rows here.
CREATE INDEX webhooks_user_id_idx ON public.webhooks (user_id);
