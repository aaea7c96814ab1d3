"""The newest checkpoint, kept beside the database: whoever can only write there cuts no tail off unseen.

`DATA/ledger.checkpoint` is a checkpoint that we signed, and nothing else. It is written after what it speaks
of is committed, never in the way of an append, so the database is behind it only where it went back.
"""

from __future__ import annotations

from pathlib import Path

from muniment.server.keyfiles import put_whole
from muniment.server.privacy.ledger.checkpoints import Checkpoint
from muniment.server.privacy.ledger.tree import StoredHead, public_key, read_head, root_of, signer

FILE = "ledger.checkpoint"
_ALTERED = (
    "somebody altered the database, or it is damaged: keep a copy of it for whoever looks into that, and put"
    " back the newest backup."
)


class LedgerAltered(Exception):
    """The ledger in the database is not the one that was signed. Says what to do."""


class WentBack(LedgerAltered):
    """It does not continue the checkpoint that was kept: the one thing that a backup put back explains."""

    def __init__(self, found: str, *, data: Path) -> None:
        super().__init__(
            f"{found}. If you put the database back from a backup, say so with"
            f" `muniment admin ledger --database-restored --data {data}`: that is recorded and shown on"
            f" /ledger, and the server starts again. If you did not, {_ALTERED}"
        )


class HeadAltered(LedgerAltered):
    """The row that says how large the ledger is does not fit its entries."""

    def __init__(self) -> None:
        super().__init__(f"the head of the ledger does not fit its entries: {_ALTERED}")


class KeptUnreadable(LedgerAltered):
    """The file is none that we wrote."""

    def __init__(self, why: str, *, data: Path) -> None:
        super().__init__(
            f"{data / FILE} is no checkpoint of this server ({why}): put it back from a backup of the"
            " directory, with ledger.key. Where there is none, move it away, and the ledger is taken as it"
            " stands."
        )


def kept_checkpoint(data: Path) -> Checkpoint | None:
    """None where none was kept yet. Raises KeptUnreadable."""
    try:
        return public_key().open((data / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:  # BadCheckpoint, or no UTF-8
        raise KeptUnreadable(str(error), data=data) from error


def check_kept(data: Path) -> None:
    """Raises LedgerAltered: WentBack where the ledger does not continue what was signed."""
    kept = kept_checkpoint(data)  # before the database: it only grows
    size = _sound_head().frontier.size
    if kept is None:
        return
    if size < kept.size:
        raise WentBack(f"the ledger has {size} entries, and {kept.size} were signed", data=data)
    if root_of(kept.size) != kept.root:
        raise WentBack(f"the first {kept.size} entries are not those that were signed", data=data)


def keep_checkpoint(data: Path) -> None:
    """Keep the newest. Raises LedgerAltered, and keeps what was kept."""
    check_kept(data)
    if is_behind(data):
        _write(data, _sound_head())


def keep_in_place(data: Path) -> None:
    """Keep the newest, whatever was kept: once it is recorded why."""
    _write(data, _sound_head())


def is_behind(data: Path) -> bool:
    """Whether there is anything to keep, or to say."""
    try:
        kept = kept_checkpoint(data)
        return read_head().frontier.size != (kept.size if kept else 0)
    except (KeptUnreadable, ValueError):
        return True


def _sound_head() -> StoredHead:
    """Whose root is that of the subtrees that are stored. Raises HeadAltered."""
    try:
        head = read_head()
    except ValueError as error:
        raise HeadAltered from error
    if root_of(head.frontier.size) != head.frontier.root:
        raise HeadAltered
    return head


def _write(data: Path, head: StoredHead) -> None:
    note = signer().sign(size=head.frontier.size, root=head.frontier.root)
    put_whole(data / FILE, note.encode())
