"""PostgreSQL, the guarded way."""
