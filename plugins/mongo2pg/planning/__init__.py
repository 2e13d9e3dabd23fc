"""Before a row moves: what a run was asked for, whether it can be had, and what it reads for that.

modes         what can be asked for
prepare       everything that can be wrong from outside
increments    a full run, a window or nothing, by collection
plan          collections cut into chunks
besides       what a window reads besides
claim         who does the first load
"""
