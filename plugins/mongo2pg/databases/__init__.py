"""The ways into both databases, and what is asked of MongoDB.

connections          both databases and the object store, opened
connection_faults    what a failing connection says, as a sentence
waiting              for whom a session of the target waits
ends                 between which databases a run moves
source               what the source says of itself
snapshot             one moment at which all chunks are read
window               which documents lie in a window, and by which index
lookup               single documents by their exact `_id`
raw_batches          the documents of a query as the server sent them
"""
