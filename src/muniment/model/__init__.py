"""Nouns of a backup service: ids, packs, entries, snapshots, errors. Frozen, standard library only."""
