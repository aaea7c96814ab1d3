"""Template tags of accounts: `{% load passkeys %}`."""
