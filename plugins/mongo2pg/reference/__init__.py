"""The reference: which rows a document must become, worked out a second time by other means.

Plain code over pymongo's decoded documents, written against the declaration and the BSON specification. It shares
nothing with `normalise`, `values`, `decode` and `identity`, so that a fault of theirs cannot vouch for itself; values
leave it as the text that PostgreSQL reads, not in the mover's binary form. A test holds it to the imports of `model`.

    documents      BSON as Python values, proven to be the very bytes
    extended_json  values as JSON, for jsonb columns and `extra`
    ids            the UUID of an `_id` or of a reference
    conversions    what a declaration says of values before they are judged
    texts          a value, or a column of them, as PostgreSQL reads it
    projector      documents in, rows and rejects out
    rebuild        rows in, documents out
    equivalence    whether a rebuilt document is the original
"""
