"""Bringing a machine to a vault: code, passphrase, kit, and the page to print."""
