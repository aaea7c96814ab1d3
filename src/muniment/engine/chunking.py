"""Cuts large files into chunks at places that their content chooses.

FastCDC 2020 (Xia et al., "The Design of Fast Content Defined Chunking for Data Deduplication Based Storage
Systems", IEEE TPDS 31(9)), normalised, seeded from the vault key. The cut points are the contract that
deduplication rests on: `tests/golden` holds them.
"""

from __future__ import annotations

from typing import Literal

from pyfastcdc import FastCDC

from muniment.crypto.keys import VaultKeys
from muniment.model.errors import MunimentError
from muniment.model.packs import KIB, MIB

WHOLE_BELOW = 512 * KIB
"""A file up to this size is one chunk."""

MIN_CHUNK = 256 * KIB
MEAN_CHUNK = 1 * MIB
MAX_CHUNK = 4 * MIB
_NORMALISATION: Literal[2] = 2
_SEED_MASK = (1 << 63) - 1  # pyfastcdc doubles the seed within 64 bits


class Cutter:
    """Finds the cut points of one vault. Not for several threads at once."""

    def __init__(self, keys: VaultKeys) -> None:
        if not FastCDC.__module__.startswith("pyfastcdc.cy"):
            raise MunimentError(
                "the compiled part of pyfastcdc cannot be loaded on this machine",
                advice="Install muniment on Linux x86-64 or arm64, or build pyfastcdc with a compiler.",
            )
        self._fastcdc = FastCDC(
            MEAN_CHUNK,
            min_size=MIN_CHUNK,
            max_size=MAX_CHUNK,
            normalized_chunking=_NORMALISATION,
            seed=keys.chunker_seed & _SEED_MASK,
        )

    def cut(self, data: memoryview) -> list[int]:
        """The lengths of the chunks of `data`, which begins where a chunk begins.

        All but the last are final whatever follows; the last is so only at the end of the file.
        """
        return [chunk.length for chunk in self._fastcdc.cut_buf(data)]
