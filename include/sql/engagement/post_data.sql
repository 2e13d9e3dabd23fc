-- engagement: keys and indexes, built once the tables are filled. Each statement runs where the catalog lacks its name.
-- Primary keys come first: foreign keys need them.

-- Primary keys.
ALTER TABLE public.momentum ADD CONSTRAINT momentum_pkey PRIMARY KEY (id);
ALTER TABLE public.level_history ADD CONSTRAINT level_history_pkey PRIMARY KEY (id);
ALTER TABLE public.achievements ADD CONSTRAINT achievements_pkey PRIMARY KEY (id);
ALTER TABLE public.streaks ADD CONSTRAINT streaks_pkey PRIMARY KEY (id);
ALTER TABLE public.cashed_in_streaks ADD CONSTRAINT cashed_in_streaks_pkey PRIMARY KEY (id);
ALTER TABLE public.boosts ADD CONSTRAINT boosts_pkey PRIMARY KEY (id);
ALTER TABLE public.active_boosts ADD CONSTRAINT active_boosts_pkey PRIMARY KEY (id);
ALTER TABLE public.boost_history ADD CONSTRAINT boost_history_pkey PRIMARY KEY (id);
ALTER TABLE public.objectives ADD CONSTRAINT objectives_pkey PRIMARY KEY (id);
ALTER TABLE public.objective_subtasks ADD CONSTRAINT objective_subtasks_pkey PRIMARY KEY (id);
ALTER TABLE public.objective_ai_suggestions ADD CONSTRAINT objective_ai_suggestions_pkey PRIMARY KEY (id);
ALTER TABLE public.odysseys ADD CONSTRAINT odysseys_pkey PRIMARY KEY (id);
ALTER TABLE public.odyssey_objectives ADD CONSTRAINT odyssey_objectives_pkey PRIMARY KEY (id);
ALTER TABLE public.odyssey_milestones ADD CONSTRAINT odyssey_milestones_pkey PRIMARY KEY (id);
ALTER TABLE public.odyssey_stages ADD CONSTRAINT odyssey_stages_pkey PRIMARY KEY (id);
ALTER TABLE public.seasons ADD CONSTRAINT seasons_pkey PRIMARY KEY (id);
ALTER TABLE public.season_odysseys ADD CONSTRAINT season_odysseys_pkey PRIMARY KEY (id);
ALTER TABLE public.season_top_contributors ADD CONSTRAINT season_top_contributors_pkey PRIMARY KEY (id);
ALTER TABLE public.rewards ADD CONSTRAINT rewards_pkey PRIMARY KEY (id);

-- Unique keys. Those of child tables are DEFERRABLE, which has them checked at the end of a statement: one statement
-- may reorder an array.
ALTER TABLE public.momentum
    ADD CONSTRAINT momentum_user_id_key UNIQUE (user_id);
ALTER TABLE public.level_history
    ADD CONSTRAINT level_history_momentum_id_ordinal_key UNIQUE (momentum_id, ordinal) DEFERRABLE;
ALTER TABLE public.achievements
    ADD CONSTRAINT achievements_momentum_id_ordinal_key UNIQUE (momentum_id, ordinal) DEFERRABLE;
ALTER TABLE public.streaks
    ADD CONSTRAINT streaks_user_id_key UNIQUE (user_id);
ALTER TABLE public.cashed_in_streaks
    ADD CONSTRAINT cashed_in_streaks_streak_id_ordinal_key UNIQUE (streak_id, ordinal) DEFERRABLE;
ALTER TABLE public.boosts
    ADD CONSTRAINT boosts_user_id_key UNIQUE (user_id);
ALTER TABLE public.active_boosts
    ADD CONSTRAINT active_boosts_boost_id_ordinal_key UNIQUE (boost_id, ordinal) DEFERRABLE;
ALTER TABLE public.boost_history
    ADD CONSTRAINT boost_history_boost_id_ordinal_key UNIQUE (boost_id, ordinal) DEFERRABLE;
ALTER TABLE public.objective_subtasks
    ADD CONSTRAINT objective_subtasks_objective_id_ordinal_key UNIQUE (objective_id, ordinal) DEFERRABLE;
ALTER TABLE public.objective_ai_suggestions
    ADD CONSTRAINT objective_ai_suggestions_objective_id_ordinal_key UNIQUE (objective_id, ordinal) DEFERRABLE;
ALTER TABLE public.odyssey_objectives
    ADD CONSTRAINT odyssey_objectives_odyssey_id_ordinal_key UNIQUE (odyssey_id, ordinal) DEFERRABLE;
ALTER TABLE public.odyssey_milestones
    ADD CONSTRAINT odyssey_milestones_odyssey_id_ordinal_key UNIQUE (odyssey_id, ordinal) DEFERRABLE;
ALTER TABLE public.odyssey_stages
    ADD CONSTRAINT odyssey_stages_odyssey_id_ordinal_key UNIQUE (odyssey_id, ordinal) DEFERRABLE;
ALTER TABLE public.season_odysseys
    ADD CONSTRAINT season_odysseys_season_id_ordinal_key UNIQUE (season_id, ordinal) DEFERRABLE;
ALTER TABLE public.season_top_contributors
    ADD CONSTRAINT season_top_contributors_season_id_ordinal_key UNIQUE (season_id, ordinal) DEFERRABLE;

-- Foreign keys. A user's rows go with the user, a row's children with the row, an optional reference becomes NULL.
-- objectives, odysseys and seasons point at each other: these keys hold only when all three are filled.
ALTER TABLE public.momentum
    ADD CONSTRAINT momentum_user_id_fkey FOREIGN KEY (user_id)
    REFERENCES public.users (id) ON DELETE CASCADE;
ALTER TABLE public.level_history
    ADD CONSTRAINT level_history_momentum_id_fkey FOREIGN KEY (momentum_id)
    REFERENCES public.momentum (id) ON DELETE CASCADE;
ALTER TABLE public.achievements
    ADD CONSTRAINT achievements_momentum_id_fkey FOREIGN KEY (momentum_id)
    REFERENCES public.momentum (id) ON DELETE CASCADE;
ALTER TABLE public.streaks
    ADD CONSTRAINT streaks_user_id_fkey FOREIGN KEY (user_id)
    REFERENCES public.users (id) ON DELETE CASCADE;
ALTER TABLE public.cashed_in_streaks
    ADD CONSTRAINT cashed_in_streaks_streak_id_fkey FOREIGN KEY (streak_id)
    REFERENCES public.streaks (id) ON DELETE CASCADE;
ALTER TABLE public.boosts
    ADD CONSTRAINT boosts_user_id_fkey FOREIGN KEY (user_id)
    REFERENCES public.users (id) ON DELETE CASCADE;
ALTER TABLE public.active_boosts
    ADD CONSTRAINT active_boosts_boost_id_fkey FOREIGN KEY (boost_id)
    REFERENCES public.boosts (id) ON DELETE CASCADE;
ALTER TABLE public.boost_history
    ADD CONSTRAINT boost_history_boost_id_fkey FOREIGN KEY (boost_id)
    REFERENCES public.boosts (id) ON DELETE CASCADE;
ALTER TABLE public.objectives
    ADD CONSTRAINT objectives_user_id_fkey FOREIGN KEY (user_id)
    REFERENCES public.users (id) ON DELETE CASCADE;
ALTER TABLE public.objectives
    ADD CONSTRAINT objectives_odyssey_id_fkey FOREIGN KEY (odyssey_id)
    REFERENCES public.odysseys (id) ON DELETE SET NULL;
ALTER TABLE public.objectives
    ADD CONSTRAINT objectives_season_id_fkey FOREIGN KEY (season_id)
    REFERENCES public.seasons (id) ON DELETE SET NULL;
ALTER TABLE public.objective_subtasks
    ADD CONSTRAINT objective_subtasks_objective_id_fkey FOREIGN KEY (objective_id)
    REFERENCES public.objectives (id) ON DELETE CASCADE;
ALTER TABLE public.objective_ai_suggestions
    ADD CONSTRAINT objective_ai_suggestions_objective_id_fkey FOREIGN KEY (objective_id)
    REFERENCES public.objectives (id) ON DELETE CASCADE;
ALTER TABLE public.odysseys
    ADD CONSTRAINT odysseys_user_id_fkey FOREIGN KEY (user_id)
    REFERENCES public.users (id) ON DELETE CASCADE;
ALTER TABLE public.odysseys
    ADD CONSTRAINT odysseys_season_id_fkey FOREIGN KEY (season_id)
    REFERENCES public.seasons (id) ON DELETE SET NULL;
ALTER TABLE public.odyssey_objectives
    ADD CONSTRAINT odyssey_objectives_odyssey_id_fkey FOREIGN KEY (odyssey_id)
    REFERENCES public.odysseys (id) ON DELETE CASCADE;
ALTER TABLE public.odyssey_objectives
    ADD CONSTRAINT odyssey_objectives_objective_id_fkey FOREIGN KEY (objective_id)
    REFERENCES public.objectives (id) ON DELETE CASCADE;
ALTER TABLE public.odyssey_milestones
    ADD CONSTRAINT odyssey_milestones_odyssey_id_fkey FOREIGN KEY (odyssey_id)
    REFERENCES public.odysseys (id) ON DELETE CASCADE;
ALTER TABLE public.odyssey_stages
    ADD CONSTRAINT odyssey_stages_odyssey_id_fkey FOREIGN KEY (odyssey_id)
    REFERENCES public.odysseys (id) ON DELETE CASCADE;
ALTER TABLE public.seasons
    ADD CONSTRAINT seasons_user_id_fkey FOREIGN KEY (user_id)
    REFERENCES public.users (id) ON DELETE CASCADE;
ALTER TABLE public.season_odysseys
    ADD CONSTRAINT season_odysseys_season_id_fkey FOREIGN KEY (season_id)
    REFERENCES public.seasons (id) ON DELETE CASCADE;
ALTER TABLE public.season_odysseys
    ADD CONSTRAINT season_odysseys_odyssey_id_fkey FOREIGN KEY (odyssey_id)
    REFERENCES public.odysseys (id) ON DELETE CASCADE;
ALTER TABLE public.season_top_contributors
    ADD CONSTRAINT season_top_contributors_season_id_fkey FOREIGN KEY (season_id)
    REFERENCES public.seasons (id) ON DELETE CASCADE;
ALTER TABLE public.season_top_contributors
    ADD CONSTRAINT season_top_contributors_user_id_fkey FOREIGN KEY (user_id)
    REFERENCES public.users (id) ON DELETE SET NULL;
ALTER TABLE public.rewards
    ADD CONSTRAINT rewards_user_id_fkey FOREIGN KEY (user_id)
    REFERENCES public.users (id) ON DELETE CASCADE;

-- Indexes for the foreign keys that lead no key: the cascade of a deleted row looks for its rows here.
CREATE INDEX objectives_user_id_idx ON public.objectives (user_id);
CREATE INDEX objectives_odyssey_id_idx ON public.objectives (odyssey_id);
CREATE INDEX objectives_season_id_idx ON public.objectives (season_id);
CREATE INDEX odysseys_user_id_idx ON public.odysseys (user_id);
CREATE INDEX odysseys_season_id_idx ON public.odysseys (season_id);
CREATE INDEX odyssey_objectives_objective_id_idx ON public.odyssey_objectives (objective_id);
CREATE INDEX seasons_user_id_idx ON public.seasons (user_id);
CREATE INDEX season_odysseys_odyssey_id_idx ON public.season_odysseys (odyssey_id);
CREATE INDEX season_top_contributors_user_id_idx ON public.season_top_contributors (user_id);
CREATE INDEX rewards_user_id_idx ON public.rewards (user_id);
