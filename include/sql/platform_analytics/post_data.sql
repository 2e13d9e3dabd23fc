-- platform_analytics: keys and indexes, built once the tables are filled. Each statement runs where the catalog lacks its name.
-- Primary keys come first: foreign keys need them.

-- Primary keys.
ALTER TABLE public.analytics_events ADD CONSTRAINT analytics_events_pkey PRIMARY KEY (id);

-- Foreign keys. Events stay when their user goes.
ALTER TABLE public.analytics_events
    ADD CONSTRAINT analytics_events_user_id_fkey FOREIGN KEY (user_id)
    REFERENCES public.users (id) ON DELETE SET NULL;

-- Indexes for the foreign keys that lead no key: the cascade of a deleted row looks for its rows here.
CREATE INDEX analytics_events_user_id_idx ON public.analytics_events (user_id);
