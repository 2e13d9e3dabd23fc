"""A chunk on its way: read, made rows, loaded.

extract       from MongoDB to a file, byte for byte
replay        from the rejects of the books to such a file
versions      which of two readings of a document wins
normalise     the file of a chunk to the frames of its tables
normaliser    documents to rows: a pure function
load          frames into PostgreSQL
merge         into tables that have rows already
held          documents that no chunk can judge alone
rehearsal     a dry run: what would be read and rejected
"""
