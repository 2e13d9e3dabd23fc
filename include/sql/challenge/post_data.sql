-- challenge: keys and indexes, built once the tables are filled. Each statement runs where the catalog lacks its name.
-- Primary keys come first: foreign keys need them.

-- Primary keys.
ALTER TABLE public.challenges ADD CONSTRAINT challenges_pkey PRIMARY KEY (id);
ALTER TABLE public.challenge_participants ADD CONSTRAINT challenge_participants_pkey PRIMARY KEY (id);

-- Unique keys. Those of child tables are DEFERRABLE, which has them checked at the end of a statement: one statement
-- may reorder an array.
ALTER TABLE public.challenge_participants
    ADD CONSTRAINT challenge_participants_challenge_id_ordinal_key UNIQUE (challenge_id, ordinal) DEFERRABLE;

-- Foreign keys. A user's rows go with the user, a row's children with the row, an optional reference becomes NULL.
-- tasks and challenges point at each other across two domains: challenges_task_id_fkey needs tasks_pkey.
ALTER TABLE public.challenges
    ADD CONSTRAINT challenges_user_id_fkey FOREIGN KEY (user_id)
    REFERENCES public.users (id) ON DELETE CASCADE;
ALTER TABLE public.challenges
    ADD CONSTRAINT challenges_task_id_fkey FOREIGN KEY (task_id)
    REFERENCES public.tasks (id) ON DELETE SET NULL;
ALTER TABLE public.challenge_participants
    ADD CONSTRAINT challenge_participants_challenge_id_fkey FOREIGN KEY (challenge_id)
    REFERENCES public.challenges (id) ON DELETE CASCADE;
ALTER TABLE public.challenge_participants
    ADD CONSTRAINT challenge_participants_user_id_fkey FOREIGN KEY (user_id)
    REFERENCES public.users (id) ON DELETE SET NULL;

-- Indexes for the foreign keys that lead no key: the cascade of a deleted row looks for its rows here.
CREATE INDEX challenges_user_id_idx ON public.challenges (user_id);
CREATE INDEX challenges_task_id_idx ON public.challenges (task_id);
CREATE INDEX challenge_participants_user_id_idx ON public.challenge_participants (user_id);
