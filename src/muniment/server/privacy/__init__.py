"""What personal data sits where, for what and how long: declared at the column."""
