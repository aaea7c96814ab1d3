"""Backing up regularly, by whatever the system has for that."""
