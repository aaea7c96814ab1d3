"""Keys, key slots, sealing and keyed digests. Pure: no I/O, no state beyond the keys themselves."""
