-- Functions over the ids that the pipeline gives out. Pure, so that indexes and generated columns may use them.
--
-- PostgreSQL puts a function's expression in its place, which is ten times as fast as calling it, only where it is not STRICT and
-- calls nothing that is less than IMMUTABLE, as jsonb_build_object and to_jsonb are.

-- CREATE SCHEMA IF NOT EXISTS asks for CREATE on the database even where the schema is there already.
DO $$
BEGIN
    IF to_regnamespace('migration') IS NULL THEN
        CREATE SCHEMA migration;
    END IF;
END
$$;

-- The UUID of an ObjectId given as 24 hex digits: its 12 bytes inside an RFC 9562 version 8 UUID (see docs/identity.md).
-- NULL where the text is no ObjectId.
CREATE OR REPLACE FUNCTION migration.uuid_from_objectid(objectid text) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN objectid ~ '^[0-9a-fA-F]{24}$' THEN
        (substr(objectid, 1, 12) || '8' || substr(objectid, 13, 3) || '8' || substr(objectid, 16) || '000000')::uuid
    END
$$;

-- The ObjectId inside a UUID, as 24 hex digits; NULL unless version, variant and the zero tail say that there is one.
CREATE OR REPLACE FUNCTION migration.objectid_from_uuid(id uuid) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN id::text LIKE '________-____-8___-8___-______000000' THEN
        substr(id::text, 1, 8) || substr(id::text, 10, 4) || substr(id::text, 16, 3) || substr(id::text, 21, 3)
            || substr(id::text, 25, 6)
    END
$$;

-- The value of an `_id` that `extra` keeps, if it is a whole number of 64 bits, of whatever BSON type.
CREATE OR REPLACE FUNCTION migration.whole_number(kept jsonb) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT trunc(number) FROM (
        SELECT CASE
            WHEN jsonb_typeof(kept) = 'number' THEN kept::numeric
            WHEN jsonb_typeof(kept) <> 'object' THEN NULL
            WHEN kept ->> '$numberDecimal' ~ '^-?[0-9]' THEN (kept ->> '$numberDecimal')::numeric
            -- Not by way of numeric: a double's shortest text is not its exact value.
            WHEN abs((kept ->> '$numberDouble')::double precision) < 9223372036854775808
                AND (kept ->> '$numberDouble')::double precision = trunc((kept ->> '$numberDouble')::double precision)
                THEN (kept ->> '$numberDouble')::double precision::bigint::numeric
        END AS number
    ) AS numbers
    WHERE number = trunc(number) AND number BETWEEN -9223372036854775808 AND 9223372036854775807
$$;

-- The name in the books of the document that a root row came from. What is no ObjectId and no UUID stands in `extra`; it
-- names the document where that is safe, and the row's own id where another `_id` may look like it (docs/identity.md).
CREATE OR REPLACE FUNCTION migration.document_id(id uuid, extra jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN extra ? '_id' THEN CASE
            WHEN jsonb_typeof(extra -> '_id') IN ('string', 'boolean', 'null') THEN extra -> '_id'
            WHEN migration.whole_number(extra -> '_id') IS NOT NULL THEN migration.whole_number(extra -> '_id')::text::jsonb
            WHEN extra #>> '{_id,$binary,subType}' IN ('03', '04')
                AND extra #>> '{_id,$binary,base64}' = encode(uuid_send(id), 'base64') THEN extra -> '_id'
            ELSE ('{"$row": "' || id::text || '"}')::jsonb
        END
        WHEN migration.objectid_from_uuid(id) IS NOT NULL
            THEN ('{"$oid": "' || migration.objectid_from_uuid(id) || '"}')::jsonb
        ELSE ('{"$binary": {"base64": "' || encode(uuid_send(id), 'base64') || '", "subType": "04"}}')::jsonb
    END
$$;

-- `extra` with a value put under a path, the objects on the way made where they are missing.
CREATE OR REPLACE FUNCTION migration.with_extra(extra jsonb, path text[], value jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN cardinality(path) = 1 THEN coalesce(extra, '{}') || jsonb_build_object(path[1], value)
        ELSE coalesce(extra, '{}')
            || jsonb_build_object(path[1], migration.with_extra(extra -> path[1], path[2:], value))
    END
$$;
