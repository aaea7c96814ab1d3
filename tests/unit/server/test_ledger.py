"""The ledger in a database: what it records, proves, forgets, and that no altered byte goes unnoticed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from muniment.server.accounts.models import Account
from muniment.server.deployment import Deployment
from muniment.server.privacy.ledger import tree
from muniment.server.privacy.ledger.audit import altered
from muniment.server.privacy.ledger.entries import (
    NoEntry,
    bundle_of,
    count_by,
    count_of_kind,
    entries_of,
    entry_at,
    receipt_of,
    record,
)
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.ledger.models import CheckpointRow, Head, LeafRow, Node, Opening
from muniment.server.privacy.ledger.tree import NotInTree, prove_consistency, public_key, read_head
from muniment.server.privacy.ledger.verification import (
    CONSISTENCY,
    EXPORT,
    NotProven,
    verify_document,
    verify_export,
)
from muniment.server.transactions import writing
from tests.support.domain import Clock, Member

KIND = Kind.CONSENT_GRANTED
UNKEPT = Path("/nonexistent")
"""Where no checkpoint is kept: only the database is looked at."""


@pytest.fixture(autouse=True)
def empty_ledger() -> None:
    """The tests share a database; what others recorded would blur what is counted here."""
    forget_everything()


def forget_everything() -> None:
    for model in (Opening, Node, LeafRow, CheckpointRow, Head):
        model.objects.all().delete()


@pytest.fixture
def member(deployment: Deployment) -> Member:
    """Somebody of whom the ledger holds nothing, not even that their first device was told of."""
    made = Member.first(deployment)
    forget_everything()
    return made


def record_some(count: int, clock: Clock, account: Account | None = None) -> list[int]:
    with writing():
        return [
            record(KIND, clause="P37", payload={"n": number}, now=clock(), subject=account)
            for number in range(count)
        ]


def exported(size: int | None = None) -> list[bytes]:
    lines: list[dict[str, Any]] = [{"format": EXPORT, "public_key": str(public_key())}]
    lines += [
        {"index": row.number, "kind": row.kind, "clause": row.clause, "hour": row.hour,
         "commitment": bytes(row.commitment).hex()}
        for row in LeafRow.objects.order_by("number")[:size]
    ]  # fmt: skip
    return [json.dumps(line).encode() for line in lines]


def test_records_are_numbered_and_proven(member: Member, clock: Clock) -> None:
    assert record_some(21, clock, member.account) == list(range(21))
    bundle = bundle_of(entries_of(member.account))
    assert [entry["index"] for entry in bundle["entries"]] == list(reversed(range(21)))
    assert len(verify_document(json.loads(json.dumps(bundle)), key=public_key())) == 21
    assert not list(altered(UNKEPT))
    assert count_of_kind(KIND, clause="P37") == 21


def test_what_records_say_is_counted(member: Member, clock: Clock) -> None:
    said: list[tuple[Kind, dict[str, str]]] = [
        (Kind.DISCLOSED, {"recipient": "a"}), (Kind.DISCLOSED, {"recipient": "a", "basis": "ü\u0001"}),
        (Kind.DISCLOSED, {"recipient": 'order "7"'}), (Kind.DISCLOSED, {}),
        (Kind.DISCLOSURE_REFUSED, {"recipient": "a"}),
    ]  # fmt: skip
    with writing():
        for kind, payload in said:
            record(kind, clause="P32", payload=payload, now=clock(), subject=member.account)
        record(Kind.DISCLOSED, clause="P32", payload={"recipient": "a"}, now=clock())
    assert count_by("recipient", Kind.DISCLOSED) == {"a": 3, 'order "7"': 1, "": 1}
    assert count_by("recipient", Kind.DISCLOSURE_REFUSED) == {"a": 1}
    assert count_by("recipient", Kind.DISCLOSURE_STOPPED) == {}
    Opening.objects.filter(subject=member.account.pk).delete()
    assert count_by("recipient", Kind.DISCLOSED) == {"a": 1}
    assert count_of_kind(Kind.DISCLOSED) == 5


def test_a_leaf_names_nobody(member: Member, clock: Clock) -> None:
    record_some(1, clock, member.account)
    ref, email = member.account.ref, member.account.email
    for table in ("leafrow", "node", "head", "checkpointrow"):
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM privacy_ledger_{table}")
            told = repr([[bytes(v) if isinstance(v, memoryview) else v for v in row] for row in cursor])
        assert ref.hex not in told
        assert str(ref) not in told
        assert email not in told


def test_equal_payloads_do_not_commit_equally(clock: Clock) -> None:
    with writing():
        for _ in range(2):
            record(KIND, clause="P37", payload={"same": True}, now=clock())
    assert len({bytes(row.commitment) for row in LeafRow.objects.all()}) == 2


def test_nothing_is_recorded_outside_the_transaction_of_its_effect(clock: Clock) -> None:
    with pytest.raises(RuntimeError):
        record(KIND, clause="P37", payload={}, now=clock())
    with pytest.raises(ZeroDivisionError), writing():
        record(KIND, clause="P37", payload={}, now=clock())
        raise ZeroDivisionError
    assert read_head().frontier.size == 0
    assert not LeafRow.objects.exists()


def test_what_no_leaf_can_say_is_refused(clock: Clock) -> None:
    with writing():
        with pytest.raises(ValueError):
            record(KIND, clause="P37\nP38", payload={}, now=clock())
        with pytest.raises(TypeError):
            record(KIND, clause="P37", payload={"share": 0.5}, now=clock())  # type: ignore[dict-item]
    assert not LeafRow.objects.exists()


def test_it_still_verifies_after_a_person_is_forgotten(member: Member, clock: Clock) -> None:
    record_some(3, clock, member.account)
    record_some(3, clock)
    with writing():
        Opening.objects.filter(subject=member.account.pk).delete()
    record_some(1, clock)
    assert not entries_of(member.account)
    with pytest.raises(NoEntry):
        entry_at(0)
    assert not list(altered(UNKEPT))
    verify_export([*exported(), json.dumps({"checkpoint": read_head().note}).encode()])


def test_a_receipt_proves_what_it_says_and_nothing_else(clock: Clock) -> None:
    record_some(4, clock)
    with writing():
        index = record(KIND, clause="P16", payload={"rows": 17, "packs": 3}, now=clock())
    receipt = json.loads(json.dumps(receipt_of(index)))
    assert "packs" in verify_document(receipt, key=public_key())[0]
    receipt["content"]["packs"] = 4
    with pytest.raises(NotProven):
        verify_document(receipt, key=public_key())


def test_a_bundle_takes_no_query_for_each_entry(
    member: Member, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_some(50, clock, member.account)
    entries = entries_of(member.account)

    def queries_for(count: int) -> int:
        with CaptureQueriesContext(connection) as asked:
            assert len(verify_document(bundle_of(entries[:count]), key=public_key())) == count
        return len(asked)

    assert queries_for(50) <= queries_for(1) + 1
    monkeypatch.setattr(tree, "_PROVEN_AT_ONCE", 7)
    assert queries_for(50) > queries_for(7)


def test_no_altered_field_of_a_bundle_verifies(member: Member, clock: Clock) -> None:
    record_some(5, clock, member.account)
    bundle = json.loads(json.dumps(bundle_of(entries_of(member.account))))
    entry = bundle["entries"][2]
    for name in entry:
        before = entry[name]
        for other in _others(before):
            entry[name] = other
            with pytest.raises(NotProven):
                verify_document(bundle, key=public_key())
        entry[name] = before
    assert verify_document(bundle, key=public_key())


def _others(value: Any) -> Iterator[Any]:
    if isinstance(value, int):
        yield from (value + 1, value - 1, None)
    elif isinstance(value, list):
        yield from (value[:-1], [*value, value[0]], ["00" * 32, *value[1:]])
    else:
        yield from (value + "0", value[:-1], "x" + value[1:], None)


def test_old_checkpoints_are_kept_by_the_hour_and_are_continued(clock: Clock) -> None:
    record_some(3, clock)
    old = read_head().note
    clock.turn(hours=1)
    record_some(4, clock)
    assert [(row.size, row.note) for row in CheckpointRow.objects.all()] == [(3, old)]
    document = {
        "format": CONSISTENCY, "public_key": str(public_key()), "old": old, "old_size": 3,
        "new": read_head().note, "proof": [step.hex() for step in prove_consistency(3, 7)],
    }  # fmt: skip
    verify_document(document, key=public_key())
    verify_export(exported(), checkpoints=[old, read_head().note], key=public_key())
    with pytest.raises(NotInTree):
        prove_consistency(3, 8)
    document["proof"][0] = "00" * 32
    with pytest.raises(NotProven):
        verify_document(document, key=public_key())


def test_an_export_that_lacks_or_changes_something_is_not_proven(clock: Clock) -> None:
    record_some(6, clock)
    note, lines = read_head().note, exported()
    verify_export(lines, checkpoints=[note])
    for wrong in (lines[:-1], lines[:2] + lines[3:], [*lines, lines[-1]], lines[1:], [*lines, b"{}"]):
        with pytest.raises(NotProven):
            verify_export(wrong, checkpoints=[note])
    changed = [line.replace(b"P37", b"P38") if b'"index": 2' in line else line for line in lines]
    with pytest.raises(NotProven):
        verify_export(changed, checkpoints=[note])
    with pytest.raises(NotProven):
        verify_export(lines)


def test_a_rollback_of_the_clock_changes_nothing(clock: Clock) -> None:
    record_some(2, clock)
    clock.at -= timedelta(days=400)
    record_some(2, clock)
    clock.turn(days=800)
    record_some(2, clock)
    assert not list(altered(UNKEPT))
    assert CheckpointRow.objects.count() == 2


COLUMNS = [
    (model._meta.db_table, model._meta.pk.column, field.column)
    for model in (Head, LeafRow, Node, CheckpointRow, Opening)
    for field in model._meta.concrete_fields
]


@pytest.mark.parametrize(("table", "key", "column"), COLUMNS, ids=lambda part: part)
def test_a_column_changed_by_hand_is_named(
    member: Member, clock: Clock, table: str, key: str, column: str
) -> None:
    other = Member.first(member.deployment).account
    forget_everything()
    record_some(5, clock, member.account)
    clock.turn(hours=1)
    record_some(4, clock, member.account)
    assert not list(altered(UNKEPT))
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {key}, {column} FROM {table}")
        rows = cursor.fetchall()
    assert rows
    for row, value in rows:
        with transaction.atomic():
            _change(table, key, row, column, other.pk if column == "subject_id" else _altered(value))
            said = list(altered(UNKEPT))
            transaction.set_rollback(True)
        name = table.removeprefix("privacy_ledger_").removesuffix("row")
        assert said, f"{table}.{column} of row {row}"
        assert any(name in text for text in said), said
    assert not list(altered(UNKEPT))


def _altered(value: Any) -> Any:
    if isinstance(value, int):
        return value + 20_000
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1] != "0" else "1")
    raw = bytes(value)
    return bytes([raw[0] ^ 1]) + raw[1:]


def _change(table: str, key: str, row: Any, column: str, value: Any) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA defer_foreign_keys=ON")
        cursor.execute(f"UPDATE {table} SET {column} = %s WHERE {key} = %s", [value, row])


def test_a_removed_row_is_named(clock: Clock) -> None:
    record_some(7, clock)
    for model in (LeafRow, Node, Head):
        for row in model.objects.all():
            with transaction.atomic():
                Opening.objects.all().delete()
                model.objects.filter(pk=row.pk).delete()
                assert list(altered(UNKEPT)), row
                transaction.set_rollback(True)
