"""Writing to the database: one writer at a time, durable when the block ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

_ONE_WRITER = threading.Lock()


@contextmanager
def writing() -> Iterator[None]:
    """A transaction that begins IMMEDIATE and is on disk when the block ends. Never nested.

    SQLite has one writer anyway; waiting on our own lock is fair and wakes at once, where SQLite's busy
    handler sleeps and guesses. Other processes (`muniment admin`) still meet the busy handler.
    """
    if connection.in_atomic_block:
        raise RuntimeError("writing() inside writing(): what is inside would not be durable when it ends")
    if connection.vendor != "sqlite":
        with transaction.atomic(durable=True):
            yield
        return
    with _ONE_WRITER, transaction.atomic(durable=True):
        yield
