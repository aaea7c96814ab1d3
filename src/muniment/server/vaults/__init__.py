"""Vaults: packs, sessions, snapshots, key slots, confirmations, events."""
