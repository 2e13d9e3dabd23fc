-- engagement: the tables, bare. Rows go in about twice as fast without keys and indexes: post_data.sql adds them.
-- Old data decides, not wishes: NOT NULL are ids, parents, positions, map keys, owners, required references, unique columns.
-- The defaults are for the services, which insert after the cut-over. extra holds the fields that have no column and the
-- values that their column cannot hold.

CREATE TABLE IF NOT EXISTS public.momentum (
    id                                   uuid        NOT NULL DEFAULT gen_random_uuid(),
    user_id                              uuid        NOT NULL,
    total_momentum                       bigint,
    current_level                        integer,
    momentum_to_next_level               bigint,
    skill_mastery_commits                integer,
    skill_mastery_docs                   integer,
    skill_mastery_tasks                  integer,
    skill_mastery_reviews                integer,
    skill_mastery_comments               integer,
    skill_mastery_attendance             integer,
    skill_mastery_features_shipped       integer,
    skill_mastery_design_edits           integer,
    public_profile_display_momentum      boolean,
    public_profile_showcase_achievements text[],
    public_profile_resume_references     text[],
    created_at                           timestamptz          DEFAULT now(),
    updated_at                           timestamptz,
    extra                                jsonb
);

CREATE TABLE IF NOT EXISTS public.level_history (
    id             uuid        NOT NULL,
    momentum_id    uuid        NOT NULL,
    ordinal        integer     NOT NULL,
    source_id      uuid,
    level          integer,
    reached_at     timestamptz,
    total_momentum bigint,
    extra          jsonb
);

CREATE TABLE IF NOT EXISTS public.achievements (
    id             uuid        NOT NULL,
    momentum_id    uuid        NOT NULL,
    ordinal        integer     NOT NULL,
    source_id      uuid,
    achievement_id text,
    name           text,
    description    text,
    unlocked_at    timestamptz,
    showcaseable   boolean,
    extra          jsonb
);

-- project_project_id is text and points at nothing that was migrated.
CREATE TABLE IF NOT EXISTS public.streaks (
    id                                       uuid        NOT NULL DEFAULT gen_random_uuid(),
    user_id                                  uuid        NOT NULL,
    daily_current                            integer,
    daily_longest                            integer,
    daily_last_date                          timestamptz,
    daily_can_cash_in                        boolean,
    weekly_current                           integer,
    weekly_longest                           integer,
    weekly_last_week                         text,
    weekly_can_cash_in                       boolean,
    project_current                          integer,
    project_longest                          integer,
    project_project_id                       text,
    project_last_project_date                timestamptz,
    project_can_cash_in                      boolean,
    pr_current                               integer,
    pr_longest                               integer,
    pr_last_pr_date                          timestamptz,
    pr_can_cash_in                           boolean,
    healthy_current                          integer,
    healthy_longest                          integer,
    healthy_last_healthy_date                timestamptz,
    healthy_can_cash_in                      boolean,
    healthy_consecutive_days_without_burnout integer,
    created_at                               timestamptz          DEFAULT now(),
    updated_at                               timestamptz,
    extra                                    jsonb
);

CREATE TABLE IF NOT EXISTS public.cashed_in_streaks (
    id                   uuid        NOT NULL,
    streak_id            uuid        NOT NULL,
    ordinal              integer     NOT NULL,
    source_id            uuid,
    streak_type          text,
    cashed_at            timestamptz,
    streak_value         integer,
    boost_credits_earned integer,
    extra                jsonb,
    CONSTRAINT cashed_in_streaks_streak_type_check
        CHECK (streak_type IN ('daily', 'weekly', 'project', 'pr', 'healthy'))
);

CREATE TABLE IF NOT EXISTS public.boosts (
    id                                  uuid        NOT NULL DEFAULT gen_random_uuid(),
    user_id                             uuid        NOT NULL,
    boost_credits                       integer,
    settings_max_concurrent_boosts      integer,
    settings_max_autopilot_time_per_day integer,
    settings_autopilot_time_used_today  integer,
    settings_last_autopilot_reset       timestamptz,
    created_at                          timestamptz          DEFAULT now(),
    updated_at                          timestamptz,
    extra                               jsonb
);

CREATE TABLE IF NOT EXISTS public.active_boosts (
    id           uuid             NOT NULL,
    boost_id     uuid             NOT NULL,
    ordinal      integer          NOT NULL,
    source_id    uuid,
    boost_type   text,
    activated_at timestamptz,
    expires_at   timestamptz,
    duration     double precision,
    metadata     jsonb,
    extra        jsonb,
    CONSTRAINT active_boosts_boost_type_check
        CHECK (boost_type IN ('focus', 'velocity', 'clarity', 'debug', 'cleanup'))
);

CREATE TABLE IF NOT EXISTS public.boost_history (
    id           uuid             NOT NULL,
    boost_id     uuid             NOT NULL,
    ordinal      integer          NOT NULL,
    source_id    uuid,
    boost_type   text,
    activated_at timestamptz,
    expired_at   timestamptz,
    duration     double precision,
    credits_used integer,
    source       text,
    extra        jsonb,
    CONSTRAINT boost_history_boost_type_check
        CHECK (boost_type IN ('focus', 'velocity', 'clarity', 'debug', 'cleanup')),
    CONSTRAINT boost_history_source_check
        CHECK (source IN ('purchased', 'streak_reward', 'momentum_reward', 'season_reward'))
);

CREATE TABLE IF NOT EXISTS public.objectives (
    id                              uuid             NOT NULL DEFAULT gen_random_uuid(),
    user_id                         uuid             NOT NULL,
    title                           text,
    description                     text,
    status                          text,
    momentum_reward                 double precision,
    deadline                        timestamptz,
    completion_data_completed_at    timestamptz,
    completion_data_actual_duration double precision,
    completion_data_momentum_earned double precision,
    completion_data_auto_detected   boolean,
    odyssey_id                      uuid,
    season_id                       uuid,
    metadata                        jsonb,
    created_at                      timestamptz               DEFAULT now(),
    updated_at                      timestamptz,
    extra                           jsonb,
    CONSTRAINT objectives_status_check
        CHECK (status IN ('draft', 'active', 'completed', 'cancelled'))
);

-- subtask_id is the subtask's own id, a string: the column id is the row's.
CREATE TABLE IF NOT EXISTS public.objective_subtasks (
    id              uuid             NOT NULL,
    objective_id    uuid             NOT NULL,
    ordinal         integer          NOT NULL,
    source_id       uuid,
    subtask_id      text,
    title           text,
    completed       boolean,
    momentum_reward double precision,
    extra           jsonb
);

CREATE TABLE IF NOT EXISTS public.objective_ai_suggestions (
    id           uuid             NOT NULL,
    objective_id uuid             NOT NULL,
    ordinal      integer          NOT NULL,
    source_id    uuid,
    suggestion   text,
    type         text,
    confidence   double precision,
    extra        jsonb,
    CONSTRAINT objective_ai_suggestions_type_check
        CHECK (type IN ('task_breakdown', 'optimization', 'resource', 'timeline'))
);

-- organization_id points at nothing that was migrated.
CREATE TABLE IF NOT EXISTS public.odysseys (
    id                              uuid             NOT NULL DEFAULT gen_random_uuid(),
    user_id                         uuid             NOT NULL,
    organization_id                 uuid,
    title                           text,
    description                     text,
    scale                           text,
    minimum_hours_before_selection  double precision,
    status                          text,
    progress_objectives_completed   integer,
    progress_total_objectives       integer,
    progress_milestones_completed   integer,
    progress_total_milestones       integer,
    progress_progress_percentage    double precision,
    ai_generated_brief_animation    text,
    ai_generated_brief_summary      text,
    ai_generated_brief_generated_at timestamptz,
    progress_map_current_stage      text,
    start_date                      timestamptz,
    end_date                        timestamptz,
    season_id                       uuid,
    metadata                        jsonb,
    created_at                      timestamptz               DEFAULT now(),
    updated_at                      timestamptz,
    extra                           jsonb,
    CONSTRAINT odysseys_scale_check
        CHECK (scale IN ('hours', 'day', 'week', 'month', 'custom')),
    CONSTRAINT odysseys_status_check
        CHECK (status IN ('planning', 'active', 'completed', 'paused', 'cancelled'))
);

-- One row per reference, in the order of the array.
CREATE TABLE IF NOT EXISTS public.odyssey_objectives (
    id           uuid    NOT NULL,
    odyssey_id   uuid    NOT NULL,
    ordinal      integer NOT NULL,
    objective_id uuid    NOT NULL,
    extra        jsonb
);

-- milestone_id is the milestone's own id, a string: the column id is the row's.
CREATE TABLE IF NOT EXISTS public.odyssey_milestones (
    id              uuid             NOT NULL,
    odyssey_id      uuid             NOT NULL,
    ordinal         integer          NOT NULL,
    source_id       uuid,
    milestone_id    text,
    title           text,
    description     text,
    completed       boolean,
    completed_at    timestamptz,
    momentum_reward double precision,
    extra           jsonb
);

CREATE TABLE IF NOT EXISTS public.odyssey_stages (
    id           uuid        NOT NULL,
    odyssey_id   uuid        NOT NULL,
    ordinal      integer     NOT NULL,
    source_id    uuid,
    stage_id     text,
    name         text,
    completed    boolean,
    completed_at timestamptz,
    extra        jsonb
);

-- organization_id points at nothing that was migrated.
CREATE TABLE IF NOT EXISTS public.seasons (
    id                               uuid             NOT NULL DEFAULT gen_random_uuid(),
    user_id                          uuid             NOT NULL,
    organization_id                  uuid,
    name                             text,
    description                      text,
    start_date                       timestamptz,
    end_date                         timestamptz,
    sprint_cycle                     text,
    status                           text,
    season_boosts_enabled            boolean,
    season_boosts_boost_type         text,
    season_boosts_multiplier         double precision,
    season_boosts_description        text,
    highlights_total_momentum_earned bigint,
    highlights_objectives_completed  integer,
    highlights_odysseys_completed    integer,
    highlights_highlights_reel       text,
    highlights_generated_at          timestamptz,
    metadata                         jsonb,
    created_at                       timestamptz               DEFAULT now(),
    updated_at                       timestamptz,
    extra                            jsonb,
    CONSTRAINT seasons_status_check
        CHECK (status IN ('upcoming', 'active', 'completed'))
);

-- One row per reference, in the order of the array.
CREATE TABLE IF NOT EXISTS public.season_odysseys (
    id         uuid    NOT NULL,
    season_id  uuid    NOT NULL,
    ordinal    integer NOT NULL,
    odyssey_id uuid    NOT NULL,
    extra      jsonb
);

-- A contributor is not the season's owner: user_id becomes NULL when that user is gone.
CREATE TABLE IF NOT EXISTS public.season_top_contributors (
    id        uuid    NOT NULL,
    season_id uuid    NOT NULL,
    ordinal   integer NOT NULL,
    source_id uuid,
    user_id   uuid,
    momentum  bigint,
    name      text,
    extra     jsonb
);

CREATE TABLE IF NOT EXISTS public.rewards (
    id          uuid             NOT NULL DEFAULT gen_random_uuid(),
    user_id     uuid             NOT NULL,
    reward_type text,
    amount      double precision,
    source      text,
    source_id   text,
    description text,
    status      text,
    claimed_at  timestamptz,
    expires_at  timestamptz,
    metadata    jsonb,
    created_at  timestamptz               DEFAULT now(),
    updated_at  timestamptz,
    extra       jsonb,
    CONSTRAINT rewards_reward_type_check
        CHECK (reward_type IN ('boost_credits', 'momentum_bonus', 'skip_day', 'break_time', 'custom')),
    CONSTRAINT rewards_source_check
        CHECK (source IN ('streak', 'momentum', 'season', 'achievement', 'manual')),
    CONSTRAINT rewards_status_check
        CHECK (status IN ('pending', 'claimed', 'expired'))
);
