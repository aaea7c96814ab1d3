"""Trees of pages, in one place: what the engine imports. `docs/design/format.md`, "Tree"."""

from __future__ import annotations

from muniment.format.tree_building import ExtentTreeBuilder, StorePage, TreeBuilder, build_extent_tree
from muniment.format.tree_reading import LoadPage, PackMemo, TreeReader, subtree_range

__all__ = [
    "ExtentTreeBuilder",
    "LoadPage",
    "PackMemo",
    "StorePage",
    "TreeBuilder",
    "TreeReader",
    "build_extent_tree",
    "subtree_range",
]
