"""SQLite, the guarded way."""
