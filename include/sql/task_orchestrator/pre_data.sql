-- task_orchestrator: the tables, bare. Rows go in about twice as fast without keys and indexes: post_data.sql adds them.
-- Old data decides, not wishes: NOT NULL are ids, parents, positions, map keys, owners, required references, unique columns.
-- The defaults are for the services, which insert after the cut-over. extra holds the fields that have no column and the
-- values that their column cannot hold.

CREATE TABLE IF NOT EXISTS public.tasks (
    id                              uuid             NOT NULL DEFAULT gen_random_uuid(),
    user_id                         uuid             NOT NULL,
    title                           text,
    description                     text,
    type                            text,
    status                          text,
    priority                        text,
    due_date                        timestamptz,
    estimated_duration              integer,
    tags                            text[],
    metadata_source_id              text,
    metadata_source_url             text,
    metadata_source_data            jsonb,
    challenge_id                    uuid,
    completion_data_completed_at    timestamptz,
    completion_data_actual_duration double precision,
    completion_data_efficiency      double precision,
    completion_data_notes           text,
    created_at                      timestamptz               DEFAULT now(),
    updated_at                      timestamptz,
    extra                           jsonb,
    CONSTRAINT tasks_type_check
        CHECK (type IN ('manual', 'notion', 'trello', 'github', 'google_docs', 'pdf', 'code', 'study', 'creative')),
    CONSTRAINT tasks_status_check
        CHECK (status IN ('pending', 'in_progress', 'completed', 'cancelled')),
    CONSTRAINT tasks_priority_check
        CHECK (priority IN ('low', 'medium', 'high', 'urgent'))
);

-- Append-only. A version keeps the id of its task after the task is gone, so task_id is NOT NULL and still no foreign key.
CREATE TABLE IF NOT EXISTS public.task_versions (
    id            uuid        NOT NULL DEFAULT gen_random_uuid(),
    task_id       uuid        NOT NULL,
    version       integer     NOT NULL,
    user_id       uuid        NOT NULL,
    changes       jsonb,
    change_type   text,
    changed_by    uuid,
    change_reason text,
    snapshot      jsonb,
    created_at    timestamptz          DEFAULT now(),
    extra         jsonb,
    CONSTRAINT task_versions_change_type_check
        CHECK (change_type IN ('create', 'update', 'delete', 'restore'))
);

CREATE TABLE IF NOT EXISTS public.task_dependencies (
    id                 uuid        NOT NULL DEFAULT gen_random_uuid(),
    task_id            uuid        NOT NULL,
    depends_on_task_id uuid        NOT NULL,
    dependency_type    text,
    user_id            uuid        NOT NULL,
    created_at         timestamptz          DEFAULT now(),
    extra              jsonb,
    CONSTRAINT task_dependencies_dependency_type_check
        CHECK (dependency_type IN ('blocks', 'precedes', 'related', 'subtask'))
);
