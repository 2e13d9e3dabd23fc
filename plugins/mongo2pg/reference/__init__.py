"""The reference: which rows a document must become, worked out a second time by other means.

Written against the declaration and the BSON specification. It shares nothing with `normalise`, `values`, `decode` and
`identity`, so that a fault of theirs cannot vouch for itself; a test holds it to the imports of `model`. It has two halves:
plain code over pymongo's decoded documents, which has the word on every document, and a quick one that says of most that
their rows are what they must be.

    documents      BSON as Python values, proven to be the very bytes
    extended_json  values as JSON, for jsonb columns and `extra`
    ids            the UUID of an `_id` or of a reference
    id_order       which of two `_id`s MongoDB sorts first
    conversions    what a declaration says of values before they are judged
    texts          a value, or a column of them, as PostgreSQL reads it
    projector      documents in, rows and rejects out
    octets         bytes looked at in many places at once
    walk           where the fields of many documents of one shape lie
    fields         and those of documents of many shapes
    arrays         where the elements of many arrays lie
    cells          rows as PostgreSQL sends them, by column
    id_words       the ids that many values become, as numbers
    column_rules   whether a cell is what a value must become
    json_cells     whether a cell is a value's JSON
    declared       documents against their rows, column by column
    agreement      documents and rows in, those that agree out
    rebuild        rows in, documents out
    equivalence    whether a rebuilt document is the original
"""
