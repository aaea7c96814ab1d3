"""Bytes at rest: blocks, packs, pages, trees, heads. Pure: bytes in, nouns of `muniment.model` out."""
