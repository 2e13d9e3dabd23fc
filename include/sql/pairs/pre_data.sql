CREATE TABLE IF NOT EXISTS public.codes (
    id uuid NOT NULL, a text NOT NULL, b text NOT NULL, n integer, extra jsonb
);
CREATE TABLE IF NOT EXISTS public.code_words (
    id uuid NOT NULL, code_id uuid NOT NULL, ordinal integer NOT NULL, word text, extra jsonb
);
