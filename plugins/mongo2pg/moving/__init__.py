"""A chunk on its way: read, made rows, loaded.

extract       from MongoDB to a file, byte for byte
names         the names of its documents
replay        from the rejects of the books to such a file
versions      which of two readings of a document wins
normalise     the file of a chunk to the frames of its tables
normaliser    documents to rows: a pure function
load          frames into PostgreSQL
copying       by COPY
merge         into tables that have rows already
held          documents that no chunk can judge alone
twins         documents that reach one id
rehearsal     a dry run: what would be read and rejected
"""
