"""The words beside a choice. Their hash is kept with it, so that it stays known what was agreed to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from muniment.server.privacy.terms import Purpose

_GPC = "Global Privacy Control"


@dataclass(frozen=True, slots=True)
class Notice:
    """`text` is what the person saw, word for word."""

    text: str

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.text.encode()).digest()

    @property
    def mentions_gpc(self) -> bool:
        return _GPC in self.text


def notice_for(purpose: Purpose, *, gpc: bool) -> Notice:
    """The words beside the choice for a purpose; to somebody whose browser refuses it, they say so."""
    question = purpose.ask or purpose.text
    if gpc and purpose.gpc:
        return Notice(
            f"{question} Your browser sends {_GPC}, which says no to this. A yes here counts more than"
            " the signal, until you take it back."
        )
    return Notice(question)
