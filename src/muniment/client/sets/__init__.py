"""Backup sets: which one is meant, and what its rules leave out."""
