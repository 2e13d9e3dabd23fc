"""The files of a run, and who may read which.

staging             where they lie and how they are written
parquet             frames: written whole, opened as a manifest names them
planned             the plan in its file, and how a chunk is read by it
staged_documents    the documents behind rejects
root_ids            the ids of the rows that documents must become
retention           what was staged long ago goes
"""
