"""The tables in PostgreSQL: what is declared, what is built, and what the catalog says of both.

scripts    the two SQL files of a domain
schema     tables made bare, and finished when they are full
lineage    where each column came from
guards     what keys and constraints of the catalog guarantee
catalog    where the catalog differs from the declaration
"""
