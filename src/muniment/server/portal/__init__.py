"""Pages of an account's owner."""
