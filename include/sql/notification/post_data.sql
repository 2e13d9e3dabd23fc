-- notification: keys and indexes, built once the tables are filled. Each statement runs where the catalog lacks its name.
-- Primary keys come first: foreign keys need them.

-- Primary keys.
ALTER TABLE public.notifications ADD CONSTRAINT notifications_pkey PRIMARY KEY (id);
ALTER TABLE public.push_subscriptions ADD CONSTRAINT push_subscriptions_pkey PRIMARY KEY (id);

-- Unique keys.
ALTER TABLE public.push_subscriptions
    ADD CONSTRAINT push_subscriptions_endpoint_key UNIQUE (endpoint);

-- Foreign keys. A user's rows go with the user.
ALTER TABLE public.notifications
    ADD CONSTRAINT notifications_user_id_fkey FOREIGN KEY (user_id)
    REFERENCES public.users (id) ON DELETE CASCADE;
ALTER TABLE public.push_subscriptions
    ADD CONSTRAINT push_subscriptions_user_id_fkey FOREIGN KEY (user_id)
    REFERENCES public.users (id) ON DELETE CASCADE;

-- Indexes for the foreign keys that lead no key: the cascade of a deleted row looks for its rows here.
CREATE INDEX notifications_user_id_idx ON public.notifications (user_id);
CREATE INDEX push_subscriptions_user_id_idx ON public.push_subscriptions (user_id);
