-- The two roles of the target, for an administrator to run; no DAG does.
--
--     psql --set ON_ERROR_STOP=1 --dbname deepiri --file include/sql/roles.sql
--
-- as a superuser, connected to the target's database. Run it before the first run of the pipeline, so that the pipeline may
-- log in, and again whenever a domain's tables are new, so that readers may see them: it may be run any number of times, and
-- what it grants replaces what it granted before.
--
-- No password stands here. Give the pipeline one with psql's \password deepiri_mover, which sends it hashed, and name the
-- role in DATABASE_URL or in the connection deepiri_postgres. deepiri_reader cannot log in: GRANT deepiri_reader TO ann.
-- Tables that exist already must belong to the pipeline: ALTER TABLE public.users OWNER TO deepiri_mover.

BEGIN;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'deepiri_mover') THEN
        CREATE ROLE deepiri_mover LOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'deepiri_reader') THEN
        CREATE ROLE deepiri_reader NOLOGIN;
    END IF;
END
$$;

ALTER ROLE deepiri_mover NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
ALTER ROLE deepiri_reader NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

-- The pipeline makes the schema migration (CREATE on the database), its books in there and the tables in public (CREATE on
-- public), all of which it then owns; rows come in through temporary tables.
DO $$
BEGIN
    EXECUTE format('GRANT CONNECT, CREATE, TEMPORARY ON DATABASE %I TO deepiri_mover', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO deepiri_reader', current_database());
END
$$;

GRANT USAGE, CREATE ON SCHEMA public TO deepiri_mover;
GRANT USAGE ON SCHEMA public TO deepiri_reader;

-- Readers see every column but those named here: secrets of users and of the services, and the column extra of their
-- tables, where a secret lands whose type is not the declared one. The grants are on columns, so that a column which is
-- added later stays unseen until this file is run again; a test holds the list against the declarations.
DO $$
DECLARE
    table_name text;
    hidden     text[];
    visible    text;
BEGIN
    FOR table_name, hidden IN
        VALUES
            -- auth
            ('users',                    '{password, extra}'::text[]),
            ('user_roles',               '{}'),
            ('user_sessions',            '{token, extra}'),
            ('skill_trees',              '{}'),
            ('skills',                   '{}'),
            ('social_connections',       '{}'),
            ('progress_points',          '{}'),
            -- task_orchestrator
            ('tasks',                    '{}'),
            ('task_versions',            '{}'),
            ('task_dependencies',        '{}'),
            -- engagement
            ('momentum',                 '{}'),
            ('level_history',            '{}'),
            ('achievements',             '{}'),
            ('streaks',                  '{}'),
            ('cashed_in_streaks',        '{}'),
            ('boosts',                   '{}'),
            ('active_boosts',            '{}'),
            ('boost_history',            '{}'),
            ('objectives',               '{}'),
            ('objective_subtasks',       '{}'),
            ('objective_ai_suggestions', '{}'),
            ('odysseys',                 '{}'),
            ('odyssey_objectives',       '{}'),
            ('odyssey_milestones',       '{}'),
            ('odyssey_stages',           '{}'),
            ('seasons',                  '{}'),
            ('season_odysseys',          '{}'),
            ('season_top_contributors',  '{}'),
            ('rewards',                  '{}'),
            -- notification
            ('notifications',            '{}'),
            ('push_subscriptions',       '{keys_p256dh, keys_auth, extra}'),
            -- external_bridge
            ('webhooks',                 '{secret, headers, extra}'),
            ('webhook_logs',             '{}'),
            -- challenge
            ('challenges',               '{}'),
            ('challenge_participants',   '{}'),
            -- platform_analytics
            ('analytics_events',         '{}')
    LOOP
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO visible
        FROM pg_catalog.pg_attribute
        WHERE attrelid = to_regclass(format('public.%I', table_name))
            AND attnum > 0 AND NOT attisdropped AND attname <> ALL (hidden);
        CONTINUE WHEN visible IS NULL; -- not there yet: run this file again after the domain's first run
        -- Taking away a right on the table takes away the same right on each of its columns.
        EXECUTE format('REVOKE ALL ON public.%I FROM deepiri_reader', table_name);
        EXECUTE format('GRANT SELECT (%s) ON public.%I TO deepiri_reader', visible, table_name);
    END LOOP;
END
$$;

-- Of the books everything but the documents themselves: reject_documents holds rejected ones as they were, held the rows of
-- documents that wait for others. In differences, values of hidden columns are keyed digests.
DO $$
DECLARE
    table_name text;
BEGIN
    IF to_regnamespace('migration') IS NULL THEN
        RETURN; -- not there yet: run this file again after the first run
    END IF;
    GRANT USAGE ON SCHEMA migration TO deepiri_reader;
    REVOKE ALL ON ALL TABLES IN SCHEMA migration FROM deepiri_reader;
    FOREACH table_name IN ARRAY '{collections, runs, passes, rejects, stale, cleared, checks, differences}'::text[]
    LOOP
        CONTINUE WHEN to_regclass(format('migration.%I', table_name)) IS NULL;
        EXECUTE format('GRANT SELECT ON migration.%I TO deepiri_reader', table_name);
    END LOOP;
END
$$;

COMMIT;
