"""One execution of a backup set, from lock to report."""
