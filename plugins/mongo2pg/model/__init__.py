"""What a domain is: collections, and the tables that their documents become.

Declarations are frozen and complete: a wrong one fails when it is constructed, with the place and the way out, so
that no stage after this one has to ask whether a declaration makes sense. No module here imports Airflow or a driver.

names         what may be a name, what a path makes one, and which paths can be mapped beside each other
column        a column and the field that fills it
collection    a collection, its children, and the tables that follow from both
domain        collections that move together
"""

from mongo2pg.model.collection import LONGEST_KEY, Child, ChildKind, Collection, DeletePolicy, Table
from mongo2pg.model.column import COLUMN_TYPES, DELETED_AT, EXACT_DOUBLES, Column, ColumnType
from mongo2pg.model.domain import Domain
from mongo2pg.model.names import MAX_NAME_BYTES, snake_case
