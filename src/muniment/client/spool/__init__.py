"""Sealed packs on their way to the vault."""
