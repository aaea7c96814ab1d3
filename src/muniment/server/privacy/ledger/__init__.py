"""The tamper-evident record of what was done with personal data; docs/design/ledger.md has the format."""
