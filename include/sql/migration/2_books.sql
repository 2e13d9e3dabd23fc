-- The pipeline's books. Every row is written in the transaction of what it describes.

-- Where each collection stands: nothing loaded, in the first load of one run and plan, or complete (keys and indexes built).
CREATE TABLE IF NOT EXISTS migration.collections (
    domain        text NOT NULL,
    collection    text NOT NULL,
    phase         text NOT NULL DEFAULT 'empty' CHECK (phase IN ('empty', 'bulk', 'complete')),
    owner_run     text,
    owner_plan    text,
    full_run      text,                     -- the last full run that settled, and its plan
    full_plan     text,
    full_run_at   timestamptz,
    watermark     timestamptz,              -- every document that was changed before it has been moved
    PRIMARY KEY (domain, collection)
);
-- Columns that came later stand apart, so that older books get them, too.
ALTER TABLE migration.collections ADD COLUMN IF NOT EXISTS fingerprint text;  -- of the declaration of all rows; '' of several

CREATE TABLE IF NOT EXISTS migration.runs (
    domain        text NOT NULL,
    run_id        text NOT NULL,
    mode          text NOT NULL,
    params        jsonb NOT NULL,
    state         text NOT NULL CHECK (state IN ('running', 'passed', 'failed')),
    started_by    text,
    started_at    timestamptz NOT NULL DEFAULT now(),
    finished_at   timestamptz,
    report        jsonb,
    report_sha256 text,                        -- of report.json in staging
    PRIMARY KEY (domain, run_id)
);
ALTER TABLE migration.runs ADD COLUMN IF NOT EXISTS staging_removed_at timestamptz;  -- when retention_days were over
ALTER TABLE migration.runs ADD COLUMN IF NOT EXISTS ends jsonb;  -- source and target: their servers, database, user, version

-- What one chunk brought (stage load), what settle or a delete changed of it afterwards (stage settle, signed numbers), and
-- what a delete did (stage delete: the rows that went, and documents that it read itself because their rows had to go, too):
-- over all passes of a run and collection, read = inserted + updated + unchanged + superseded + rejected.
CREATE TABLE IF NOT EXISTS migration.passes (
    domain        text NOT NULL,
    run_id        text NOT NULL,
    plan_id       text NOT NULL,
    collection    text NOT NULL,
    stage         text NOT NULL CHECK (stage IN ('load', 'settle', 'delete')),
    chunk         integer NOT NULL,
    bounds        jsonb,
    read_time     timestamptz,                  -- the source's clock before and after the reading; NULL: nothing was read
    read_until    timestamptz,
    read          bigint NOT NULL DEFAULT 0,
    inserted      bigint NOT NULL DEFAULT 0,
    updated       bigint NOT NULL DEFAULT 0,
    unchanged     bigint NOT NULL DEFAULT 0,
    superseded    bigint NOT NULL DEFAULT 0,
    held          bigint NOT NULL DEFAULT 0,
    rejected      jsonb NOT NULL DEFAULT '{}',  -- reason → documents
    misfits       jsonb NOT NULL DEFAULT '[]',  -- [{path, bson_type, reason, count}]
    conversions   jsonb NOT NULL DEFAULT '{}',  -- path → rule → {count, samples}
    arrays        jsonb NOT NULL DEFAULT '{}',  -- path → {elements, rows, rejected, of_parents_not_loaded}
    drift         jsonb NOT NULL DEFAULT '{}',  -- undeclared path → {count, bson_types, first_id}
    inserted_ids  uuid[],                       -- of a merge: what settle needs to take an outcome back
    updated_ids   uuid[],
    deleted_ids   uuid[],                       -- root rows whose document was gone at read_time, deleted or marked
    bytes         bigint NOT NULL DEFAULT 0,
    raw_sha256    text,
    seconds       double precision,
    committed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),  -- under the collection's lock
    PRIMARY KEY (domain, run_id, plan_id, collection, stage, chunk)
);
-- Documents that were held or rejected, and gone at read_time without ever having had a row: the ids that theirs would have.
ALTER TABLE migration.passes ADD COLUMN IF NOT EXISTS gone_ids uuid[];
-- Documents of a first load that may share their id with another one, of whatever chunk: settle looks whether they do.
ALTER TABLE migration.passes ADD COLUMN IF NOT EXISTS doubtful bigint NOT NULL DEFAULT 0;
ALTER TABLE migration.passes ADD COLUMN IF NOT EXISTS fingerprint text;  -- of the declaration by which a load made its rows
CREATE INDEX IF NOT EXISTS passes_read_idx ON migration.passes (domain, collection, read_until);
-- What came after a moment, of years of windows: of a collection, of all of them, and what a delete found gone by the source's clock.
CREATE INDEX IF NOT EXISTS passes_committed_idx ON migration.passes (domain, collection, committed_at);
CREATE INDEX IF NOT EXISTS passes_moment_idx ON migration.passes (committed_at);
CREATE INDEX IF NOT EXISTS passes_delete_idx ON migration.passes (domain, collection, read_time) WHERE stage = 'delete';

-- Documents that no chunk may judge: a reference whose row may still come, a unique slot that may still become free.
-- `row_image` is the row as PostgreSQL writes a composite value; a document's root row and child rows are held together,
-- until the plan that read them settles, or another one reads the document anew.
CREATE TABLE IF NOT EXISTS migration.held (
    domain        text NOT NULL,
    collection    text NOT NULL,
    run_id        text NOT NULL,
    plan_id       text NOT NULL,
    document_id   jsonb NOT NULL,
    root_id       uuid NOT NULL,
    table_name    text NOT NULL,
    row_image     text NOT NULL
);
CREATE INDEX IF NOT EXISTS held_plan_idx ON migration.held (plan_id, collection);
CREATE INDEX IF NOT EXISTS held_collection_idx ON migration.held (domain, collection, root_id);
-- What others hold, beside what a plan holds itself.
CREATE INDEX IF NOT EXISTS held_others_idx ON migration.held (domain, collection, plan_id);
CREATE INDEX IF NOT EXISTS held_document_idx ON migration.held (domain, collection, md5(document_id::text));

-- Each version of a rejected document once, byte for byte: Extended JSON cannot hold a malformed one.
CREATE TABLE IF NOT EXISTS migration.reject_documents (
    sha256        bytea PRIMARY KEY,
    bson          bytea NOT NULL
);

CREATE TABLE IF NOT EXISTS migration.rejects (
    reject        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    domain        text NOT NULL,
    collection    text NOT NULL,
    document_id   jsonb NOT NULL,              -- its name: the `_id`, or {"$row": …}, the id of its row (docs/identity.md)
    path          text NOT NULL,
    element       boolean NOT NULL,            -- an element of an array or map alone; its document is loaded
    bson_type     text NOT NULL,
    reason        text NOT NULL,
    document      bytea NOT NULL REFERENCES migration.reject_documents,
    run_id        text NOT NULL,
    plan_id       text NOT NULL,
    chunk         integer NOT NULL,
    state         text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'superseded', 'resolved')),
    rejected_at   timestamptz NOT NULL DEFAULT now(),
    closed_at     timestamptz
);
-- Of an orphan: the row that was not there. NULL in older books, of which the document tells it.
ALTER TABLE migration.rejects ADD COLUMN IF NOT EXISTS parent_id uuid;
-- One open reject per collection, _id and path. Digests, because an index row holds 2,700 bytes and a path may be longer.
CREATE UNIQUE INDEX IF NOT EXISTS rejects_open_key
    ON migration.rejects (domain, collection, md5(document_id::text), md5(path)) WHERE state = 'open';
CREATE INDEX IF NOT EXISTS rejects_document_idx ON migration.rejects (document);
-- Those of a run and of each of its chunks, among all that are open.
CREATE INDEX IF NOT EXISTS rejects_chunk_idx ON migration.rejects (plan_id, collection, chunk) WHERE state = 'open';

-- Rows whose document has a newer version that was rejected: the last good version stays, and is no longer the source's.
CREATE TABLE IF NOT EXISTS migration.stale (
    domain        text NOT NULL,
    collection    text NOT NULL,
    root_id       uuid NOT NULL,
    run_id        text NOT NULL,               -- the run that read the newer version
    since         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (domain, collection, root_id)
);

-- Optional references that are NULL although the document names a row: it was not there. When it is, the next window reads the
-- document again.
CREATE TABLE IF NOT EXISTS migration.cleared (
    domain        text NOT NULL,
    collection    text NOT NULL,
    root_id       uuid NOT NULL,
    parent_table  text NOT NULL,
    parent_id     uuid NOT NULL
);
CREATE INDEX IF NOT EXISTS cleared_root_idx ON migration.cleared (domain, collection, root_id);

CREATE TABLE IF NOT EXISTS migration.checks (
    domain        text NOT NULL,
    run_id        text NOT NULL,
    check_name    text NOT NULL,
    subject       text NOT NULL,               -- a collection, an array path of it, or a table
    chunk         integer NOT NULL DEFAULT -1, -- -1: the whole
    verdict       text NOT NULL CHECK (verdict IN ('passed', 'failed', 'not_run')),
    expected      jsonb,
    actual        jsonb,
    detail        text,
    checked_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (domain, run_id, check_name, subject, chunk)
);
-- What the window before read: of all checks of all runs.
CREATE INDEX IF NOT EXISTS checks_progress_idx ON migration.checks (domain, subject, checked_at) WHERE check_name = 'progress';

-- Every difference that a check found, however many; values of sensitive columns as keyed digests.
CREATE TABLE IF NOT EXISTS migration.differences (
    domain        text NOT NULL,
    run_id        text NOT NULL,
    check_name    text NOT NULL,
    table_name    text NOT NULL,
    chunk         integer NOT NULL,
    id            uuid,
    column_name   text,                        -- or a key's columns, or the path of a rebuilt field; NULL of a whole row
    kind          text NOT NULL CHECK (kind IN ('different', 'missing', 'extra', 'reject', 'orphan', 'duplicate', 'rebuilt')),
    source        text,
    target        text,
    found_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS differences_run_idx ON migration.differences (domain, run_id, check_name, table_name);

-- These have no key: where a publication holds all tables, as Debezium makes one, none of their rows could be deleted otherwise.
ALTER TABLE migration.held REPLICA IDENTITY FULL;
ALTER TABLE migration.cleared REPLICA IDENTITY FULL;
ALTER TABLE migration.differences REPLICA IDENTITY FULL;
