CREATE TABLE IF NOT EXISTS public.owners (
    id uuid NOT NULL, name text NOT NULL, tag text, boss uuid, n integer, fav uuid, at timestamptz, extra jsonb
);
CREATE TABLE IF NOT EXISTS public.owner_friends (
    id uuid NOT NULL, owner_id uuid NOT NULL, ordinal integer NOT NULL, friend_id uuid NOT NULL, extra jsonb
);
CREATE TABLE IF NOT EXISTS public.pets (
    id uuid NOT NULL, owner_id uuid NOT NULL, title text, size double precision, price numeric, kind text CONSTRAINT pets_kind_check CHECK (kind IN ('cat', 'dog')), blob bytea, extra jsonb, deleted_at timestamptz
);
CREATE TABLE IF NOT EXISTS public.pet_toys (
    id uuid NOT NULL, pet_id uuid NOT NULL, ordinal integer NOT NULL, source_id uuid, label text, maker_id uuid NOT NULL, giver_id uuid, extra jsonb
);
CREATE TABLE IF NOT EXISTS public.pet_nicks (
    id uuid NOT NULL, pet_id uuid NOT NULL, ordinal integer NOT NULL, nick text, extra jsonb
);
CREATE TABLE IF NOT EXISTS public.pet_traits (
    id uuid NOT NULL, pet_id uuid NOT NULL, trait text NOT NULL, level integer NOT NULL, extra jsonb
);
CREATE TABLE IF NOT EXISTS public.visits (
    id uuid NOT NULL, pet_id uuid NOT NULL, prev_id uuid NOT NULL, no integer NOT NULL, note text, extra jsonb
);
CREATE TABLE IF NOT EXISTS public.leases (
    id uuid NOT NULL, owner_id uuid NOT NULL, at timestamptz, terms jsonb, extra jsonb
);
