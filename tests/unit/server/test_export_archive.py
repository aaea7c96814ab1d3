"""The export: everything the registry declares about a person, and nothing about anybody else."""

from __future__ import annotations

import csv
import io
import tracemalloc
import zipfile

import pytest

from muniment.server.deployment import Deployment
from muniment.server.privacy.export import HELD, _to_json, export_archive, read_archive, shown
from muniment.server.privacy.rows_about import tables_about
from muniment.server.privacy.statement import read_statement
from muniment.server.transactions import writing
from muniment.server.vaults.events import record_event
from muniment.server.vaults.kinds import EventKind
from muniment.server.vaults.models import Event, Vault
from tests.support.domain import Member

EVENTS = "vaults.Event"


def exported(person: int, deployment: Deployment) -> io.BytesIO:
    return io.BytesIO(b"".join(export_archive(person, read_statement(), now=deployment.now())))


@pytest.mark.clause("A2")
def test_has_every_row_and_column_that_the_registry_declares(deployment: Deployment, member: Member) -> None:
    person = member.account.pk
    found = read_archive(exported(person, deployment))
    tables = tables_about()
    assert set(found) == {table.label for table in tables}
    rows = 0
    for table in tables:
        held = [
            {column.name: shown(column, row[column.name]) for column in table.columns}
            for row in table.rows(person)
        ]
        assert found[table.label] == [{k: _plain(v) for k, v in row.items()} for row in held]
        rows += len(held)
    assert rows > 3


def _plain(value: object) -> object:
    return bytes(value) if isinstance(value, (bytes, memoryview)) else _to_json(value)


def test_has_nothing_about_anybody_else(deployment: Deployment, member: Member) -> None:
    other = Member.first(deployment)
    raw = exported(member.account.pk, deployment)
    with zipfile.ZipFile(raw) as archive:
        text = "".join(archive.read(name).decode() for name in archive.namelist())
    assert member.account.email in text
    assert other.account.email not in text
    assert str(other.account.ref) not in text


def test_tells_that_secrets_are_held_and_not_what_they_are(deployment: Deployment, member: Member) -> None:
    found = read_archive(exported(member.account.pk, deployment))
    assert {row["token_sha256"] for row in found["accounts.Device"]} == {HELD}


def test_rows_beyond_one_query_all_come(deployment: Deployment, member: Member) -> None:
    vault = Vault.objects.filter(owner=member.account).first() or pytest.fail("the member has no vault")
    before = Event.objects.filter(vault=vault).count()
    with writing():
        for _ in range(2100):
            record_event(vault, EventKind.ALLOWANCE_CHANGED, now=deployment.now())
    assert len(read_archive(exported(member.account.pk, deployment))[EVENTS]) == before + 2100


def test_memory_does_not_grow_with_the_rows(deployment: Deployment, member: Member) -> None:
    vault = Vault.objects.filter(owner=member.account).first() or pytest.fail("the member has no vault")
    number = Event.objects.filter(vault=vault).count()
    Event.objects.bulk_create(
        [
            Event(
                vault=vault,
                number=10_000 + number + place,
                at=deployment.now(),
                kind="x",
                detail={"a": "b" * 90},
            )
            for place in range(20_000)
        ],
        batch_size=1000,
    )
    tracemalloc.start()
    try:
        size = sum(map(len, export_archive(member.account.pk, read_statement(), now=deployment.now())))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 100_000
    assert peak < 12 << 20


def test_damage_is_found(deployment: Deployment, member: Member) -> None:
    raw = exported(member.account.pk, deployment)
    changed = io.BytesIO()
    with zipfile.ZipFile(raw) as source, zipfile.ZipFile(changed, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "tables/accounts.Account.json":
                content = content.replace(member.account.email.encode(), b"somebody@else.example")
            target.writestr(name, content)
    with pytest.raises(ValueError, match=r"tables/accounts\.Account\.json"):
        read_archive(changed)


def test_cells_that_spreadsheets_would_run_are_text(deployment: Deployment, member: Member) -> None:
    device = member.account.devices.get()
    device.name = "=cmd|' /C calc'!A0"
    device.save()
    with zipfile.ZipFile(exported(member.account.pk, deployment)) as archive:
        lines = list(csv.DictReader(io.StringIO(archive.read("tables/accounts.Device.csv").decode())))
    assert lines[0]["name"] == "'" + device.name
    assert read_archive(exported(member.account.pk, deployment))["accounts.Device"][0]["name"] == device.name
