"""Device-facing HTTP: authenticate, parse, one use case, answer."""
