"""The backup engine: scan, chunk, archive, plan a restore, restore, verify. Opens no socket."""
