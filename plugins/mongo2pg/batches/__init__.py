"""Many documents at once: what the rules of `documents` say of each, by columns and without a Python object for a value.

Whatever is unlike the rest is left to those rules, value by value.

    elements         where the fields of many documents lie
    jsontexts        many values as JSON
    columns          elements to one typed column
    numbers          columns of numbers, dates and booleans
    left             the rows that columns leave to the rules
    id_columns       ids and references
    typed_columns    a column of Python values, fast where they are of one kind
    rows             the rows of one table while they grow
    clean            the frames of all documents that need no second look
    arrow            pyarrow without pandas
"""
