"""Pages for the operator's staff."""
