"""The end of a run: what it owed, what it passed, and the report on both.

owed           which checks a run owes
gate           green only if all of them passed
certificate    the report that an auditor is handed
across         what concerns several domains
"""
