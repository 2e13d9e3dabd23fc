-- challenge: the tables, bare. Rows go in about twice as fast without keys and indexes: post_data.sql adds them.
-- Old data decides, not wishes: NOT NULL are ids, parents, positions, map keys, owners, required references, unique columns.
-- The defaults are for the services, which insert after the cut-over. extra holds the fields that have no column and the
-- values that their column cannot hold.

-- configuration differs by type of challenge, so it stays jsonb.
CREATE TABLE IF NOT EXISTS public.challenges (
    id                              uuid             NOT NULL DEFAULT gen_random_uuid(),
    user_id                         uuid             NOT NULL,
    task_id                         uuid,
    type                            text,
    title                           text,
    description                     text,
    difficulty                      text,
    difficulty_score                double precision,
    status                          text,
    configuration                   jsonb,
    points_reward                   double precision,
    bonus_multiplier                double precision,
    completion_data_completed_at    timestamptz,
    completion_data_completion_time double precision,
    completion_data_score           double precision,
    completion_data_accuracy        double precision,
    completion_data_attempts_used   integer,
    completion_data_hints_used      integer,
    ai_generated                    boolean,
    ai_metadata_model               text,
    ai_metadata_prompt              text,
    ai_metadata_generation_time     double precision,
    expires_at                      timestamptz,
    created_at                      timestamptz               DEFAULT now(),
    updated_at                      timestamptz,
    extra                           jsonb,
    CONSTRAINT challenges_type_check
        CHECK (type IN ('quiz', 'puzzle', 'coding_challenge', 'timed_completion', 'streak', 'multiplayer', 'custom')),
    CONSTRAINT challenges_difficulty_check
        CHECK (difficulty IN ('easy', 'medium', 'hard', 'adaptive')),
    CONSTRAINT challenges_status_check
        CHECK (status IN ('pending', 'active', 'completed', 'failed', 'expired'))
);

-- In old data a user takes part twice in one challenge: only the position is unique.
CREATE TABLE IF NOT EXISTS public.challenge_participants (
    id           uuid             NOT NULL,
    challenge_id uuid             NOT NULL,
    ordinal      integer          NOT NULL,
    source_id    uuid,
    user_id      uuid,
    status       text,
    joined_at    timestamptz,
    completed_at timestamptz,
    score        double precision,
    attempts     integer,
    answers      jsonb,
    extra        jsonb,
    CONSTRAINT challenge_participants_status_check
        CHECK (status IN ('invited', 'joined', 'completed', 'withdrawn'))
);
