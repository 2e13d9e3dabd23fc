"""Moves MongoDB collections into PostgreSQL and proves that nothing was lost or changed on the way."""
