"""When all chunks are in: what no chunk could judge alone, and rows whose document is gone.

settle           the stage
settle_rounds    the rounds in which it judges
places           a collection while rows of it are judged
losses           documents on their way to the rejects, sums closed
settlement       rows out, references cleared
shared_ids       documents whose `_id`s reach one UUID
unique_slots     unique keys that several rows claim
deletes          the stage `delete`
"""
