"""Which words and declarations belong to which version: `seals.toml`, kept in the repository.

A sealed version is finished: tests/lint/test_statement.py fails where the statement says something else under
the same number. `python -m muniment.server.manage seal` seals the version that the statement names.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files

_HEAD = "# SHA-256 of what each version of the statement promises; written by muniment.server.manage seal.\n"


class AlreadySealed(Exception):
    """That version says something else; a change needs a new number."""


def read_seals() -> dict[int, str]:
    """Digests by version."""
    text = files("muniment.server.privacy").joinpath("seals.toml").read_text(encoding="utf-8")
    return {int(number): digest for number, digest in tomllib.loads(text).items()}


def sealed_with(seals: Mapping[int, str], version: int, digest: str) -> dict[int, str]:
    """The seals and one more. Raises AlreadySealed."""
    if seals.get(version, digest) != digest:
        raise AlreadySealed(f"version {version} is sealed as {seals[version]}")
    return {**seals, version: digest}


def written(seals: Mapping[int, str]) -> str:
    """The file's text."""
    return _HEAD + "".join(f'{number} = "{seals[number]}"\n' for number in sorted(seals))
