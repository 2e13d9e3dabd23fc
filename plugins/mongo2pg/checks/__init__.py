"""What a run must pass. None of it trusts what moved the data.

count                 `row_counts`: every side counted
source_count          the server's own count
suspicion             windows that moved less than it seems
verify                `checksums`: a chunk
compare               documents against their rows
sieve                 those that agree, let through at once
stored                rows of the target by column
expected              the rows that documents must become
compare_tables        a table of both sides
reject_causes         every reject has its cause
cleared_references    NULL where settle cleared
differences           what differs, in words
live                  MongoDB read a second time
unlike                two readings of one document
references            no row refers to a missing one
uniqueness            no two rows share a key
round_trip            documents rebuilt from rows
"""
