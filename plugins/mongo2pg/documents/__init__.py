"""One document at a time: from its bytes to values, and what the rules say of them.

decode           BSON bytes to Python values
bson_types       the types of BSON and their names
outline          `_id` and sizes of arrays, without decoding
values           the rule by which BSON types meet column types
conversions      what a declaration says of values first
extended_json    values as JSON, for jsonb columns and `extra`
identity         the UUID of an `_id` or of a reference
document_ids     the one name of a document in the books
reasons          why something is a reject or a misfit
"""
