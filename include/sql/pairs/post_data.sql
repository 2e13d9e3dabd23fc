ALTER TABLE public.codes ADD CONSTRAINT codes_pkey PRIMARY KEY (id);
ALTER TABLE public.code_words ADD CONSTRAINT code_words_pkey PRIMARY KEY (id);
ALTER TABLE public.codes ADD CONSTRAINT codes_a_key UNIQUE (a);
ALTER TABLE public.codes ADD CONSTRAINT codes_b_key UNIQUE (b);
ALTER TABLE public.code_words ADD CONSTRAINT code_words_code_id_ordinal_key UNIQUE (code_id, ordinal) DEFERRABLE;
ALTER TABLE public.code_words ADD CONSTRAINT code_words_code_id_word_key UNIQUE (code_id, word) DEFERRABLE;
ALTER TABLE public.code_words ADD CONSTRAINT code_words_code_id_fkey FOREIGN KEY (code_id) REFERENCES public.codes (id) ON DELETE CASCADE;
