-- task_orchestrator: keys and indexes, built once the tables are filled. Each statement runs where the catalog lacks its name.
-- Primary keys come first: foreign keys need them.

-- Primary keys.
ALTER TABLE public.tasks ADD CONSTRAINT tasks_pkey PRIMARY KEY (id);
ALTER TABLE public.task_versions ADD CONSTRAINT task_versions_pkey PRIMARY KEY (id);
ALTER TABLE public.task_dependencies ADD CONSTRAINT task_dependencies_pkey PRIMARY KEY (id);

-- Unique keys.
ALTER TABLE public.task_versions
    ADD CONSTRAINT task_versions_task_id_version_key UNIQUE (task_id, version);
ALTER TABLE public.task_dependencies
    ADD CONSTRAINT task_dependencies_task_id_depends_on_task_id_key UNIQUE (task_id, depends_on_task_id);

-- Foreign keys. A user's rows go with the user, a row's children with the row, an optional reference becomes NULL.
-- tasks and challenges point at each other across two domains: tasks_challenge_id_fkey needs challenges_pkey.
ALTER TABLE public.tasks
    ADD CONSTRAINT tasks_user_id_fkey FOREIGN KEY (user_id)
    REFERENCES public.users (id) ON DELETE CASCADE;
ALTER TABLE public.tasks
    ADD CONSTRAINT tasks_challenge_id_fkey FOREIGN KEY (challenge_id)
    REFERENCES public.challenges (id) ON DELETE SET NULL;
ALTER TABLE public.task_versions
    ADD CONSTRAINT task_versions_user_id_fkey FOREIGN KEY (user_id)
    REFERENCES public.users (id) ON DELETE CASCADE;
ALTER TABLE public.task_versions
    ADD CONSTRAINT task_versions_changed_by_fkey FOREIGN KEY (changed_by)
    REFERENCES public.users (id) ON DELETE SET NULL;
ALTER TABLE public.task_dependencies
    ADD CONSTRAINT task_dependencies_task_id_fkey FOREIGN KEY (task_id)
    REFERENCES public.tasks (id) ON DELETE CASCADE;
ALTER TABLE public.task_dependencies
    ADD CONSTRAINT task_dependencies_depends_on_task_id_fkey FOREIGN KEY (depends_on_task_id)
    REFERENCES public.tasks (id) ON DELETE CASCADE;
ALTER TABLE public.task_dependencies
    ADD CONSTRAINT task_dependencies_user_id_fkey FOREIGN KEY (user_id)
    REFERENCES public.users (id) ON DELETE CASCADE;

-- Indexes for the foreign keys that lead no key: the cascade of a deleted row looks for its rows here.
CREATE INDEX tasks_user_id_idx ON public.tasks (user_id);
CREATE INDEX tasks_challenge_id_idx ON public.tasks (challenge_id);
CREATE INDEX task_versions_user_id_idx ON public.task_versions (user_id);
CREATE INDEX task_versions_changed_by_idx ON public.task_versions (changed_by);
CREATE INDEX task_dependencies_depends_on_task_id_idx ON public.task_dependencies (depends_on_task_id);
CREATE INDEX task_dependencies_user_id_idx ON public.task_dependencies (user_id);
