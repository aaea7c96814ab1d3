"""Public pages: what Muniment is, its editions, its statement and the proof of it."""
