"""House rules as code: `python -m lint.rules PATH...` checks them, tests/lint proves each with examples."""
