-- auth: keys and indexes, built once the tables are filled. Each statement runs where the catalog lacks its name.
-- Primary keys come first: foreign keys need them.

-- Primary keys.
ALTER TABLE public.users ADD CONSTRAINT users_pkey PRIMARY KEY (id);
ALTER TABLE public.user_roles ADD CONSTRAINT user_roles_pkey PRIMARY KEY (id);
ALTER TABLE public.user_sessions ADD CONSTRAINT user_sessions_pkey PRIMARY KEY (id);
ALTER TABLE public.skill_trees ADD CONSTRAINT skill_trees_pkey PRIMARY KEY (id);
ALTER TABLE public.skills ADD CONSTRAINT skills_pkey PRIMARY KEY (id);
ALTER TABLE public.social_connections ADD CONSTRAINT social_connections_pkey PRIMARY KEY (id);
ALTER TABLE public.progress_points ADD CONSTRAINT progress_points_pkey PRIMARY KEY (id);

-- Unique keys. Those of child tables are DEFERRABLE, which has them checked at the end of a statement: one statement
-- may reorder an array.
ALTER TABLE public.users
    ADD CONSTRAINT users_email_key UNIQUE (email);
ALTER TABLE public.user_roles
    ADD CONSTRAINT user_roles_user_id_ordinal_key UNIQUE (user_id, ordinal) DEFERRABLE;
ALTER TABLE public.user_roles
    ADD CONSTRAINT user_roles_user_id_role_key UNIQUE (user_id, role) DEFERRABLE;
ALTER TABLE public.user_sessions
    ADD CONSTRAINT user_sessions_user_id_ordinal_key UNIQUE (user_id, ordinal) DEFERRABLE;
ALTER TABLE public.skill_trees
    ADD CONSTRAINT skill_trees_user_id_key UNIQUE (user_id);
ALTER TABLE public.skills
    ADD CONSTRAINT skills_skill_tree_id_skill_name_key UNIQUE (skill_tree_id, skill_name) DEFERRABLE;
ALTER TABLE public.social_connections
    ADD CONSTRAINT social_connections_user_id_connected_user_id_key UNIQUE (user_id, connected_user_id);

-- Foreign keys. A user's rows go with the user, a row's children with the row.
ALTER TABLE public.user_roles
    ADD CONSTRAINT user_roles_user_id_fkey FOREIGN KEY (user_id)
    REFERENCES public.users (id) ON DELETE CASCADE;
ALTER TABLE public.user_sessions
    ADD CONSTRAINT user_sessions_user_id_fkey FOREIGN KEY (user_id)
    REFERENCES public.users (id) ON DELETE CASCADE;
ALTER TABLE public.skill_trees
    ADD CONSTRAINT skill_trees_user_id_fkey FOREIGN KEY (user_id)
    REFERENCES public.users (id) ON DELETE CASCADE;
ALTER TABLE public.skills
    ADD CONSTRAINT skills_skill_tree_id_fkey FOREIGN KEY (skill_tree_id)
    REFERENCES public.skill_trees (id) ON DELETE CASCADE;
ALTER TABLE public.social_connections
    ADD CONSTRAINT social_connections_user_id_fkey FOREIGN KEY (user_id)
    REFERENCES public.users (id) ON DELETE CASCADE;
ALTER TABLE public.social_connections
    ADD CONSTRAINT social_connections_connected_user_id_fkey FOREIGN KEY (connected_user_id)
    REFERENCES public.users (id) ON DELETE CASCADE;
ALTER TABLE public.progress_points
    ADD CONSTRAINT progress_points_user_id_fkey FOREIGN KEY (user_id)
    REFERENCES public.users (id) ON DELETE CASCADE;

-- Indexes for the foreign keys that lead no key: the cascade of a deleted row looks for its rows here.
CREATE INDEX social_connections_connected_user_id_idx ON public.social_connections (connected_user_id);
CREATE INDEX progress_points_user_id_idx ON public.progress_points (user_id);
