"""The checkpoint beside the database: a ledger that went back is noticed, at the start and while served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import transaction
from django.test import Client

from muniment.main import embedded
from muniment.server.config import ServerConfig
from muniment.server.deployment import Deployment
from muniment.server.jobs.models import DayDone, Job
from muniment.server.jobs.runner import Runner
from muniment.server.jobs.timetable import TIMETABLE
from muniment.server.privacy.ledger.audit import altered
from muniment.server.privacy.ledger.entries import record
from muniment.server.privacy.ledger.kept import (
    FILE,
    HeadAltered,
    KeptUnreadable,
    WentBack,
    check_kept,
    is_behind,
    keep_checkpoint,
    kept_checkpoint,
)
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.ledger.models import CheckpointRow, Head, LeafRow, Node, Opening
from muniment.server.privacy.ledger.restored import NothingLost, accept_restored, restorations
from muniment.server.privacy.ledger.tree import public_key, read_head
from muniment.server.privacy.purposes import Purpose, afresh
from muniment.server.transactions import writing
from tests.support.databases import url_for
from tests.support.domain import Clock, Member

HOST = {"host": "localhost"}
TABLES: tuple[Any, ...] = (Opening, Node, LeafRow, CheckpointRow, Head)


@pytest.fixture(autouse=True)
def empty_ledger() -> None:
    """The tests share a database."""
    for model in TABLES:
        model.objects.all().delete()


def record_some(count: int, clock: Clock) -> None:
    with writing():
        for _ in range(count):
            record(Kind.OPTED_OUT, clause="P44", payload={}, now=clock())


class Backup:
    """The ledger's rows as they are now, to be put back."""

    def __init__(self) -> None:
        self.rows = {model: list(model.objects.all()) for model in TABLES}

    def put_back(self) -> None:
        with transaction.atomic():
            for model in TABLES:
                model.objects.all().delete()
            for model in reversed(TABLES):
                model.objects.bulk_create(self.rows[model])


def cut_back(data: Path, clock: Clock, *, kept: int = 7, left: int = 4) -> None:
    """As whoever can write to the database, and has no key: the newest entries gone, the head put back."""
    record_some(left, clock)
    clock.turn(hours=1)
    backup = Backup()
    record_some(kept - left, clock)
    keep_checkpoint(data)
    assert not list(altered(data))
    backup.put_back()
    assert not list(altered(data / "elsewhere")), "the database by itself shows nothing"


def test_a_cut_tail_is_found_at_the_start_and_by_the_audit(tmp_path: Path, clock: Clock) -> None:
    cut_back(tmp_path, clock)
    with pytest.raises(WentBack, match="has 4 entries, and 7 were signed") as found:
        check_kept(tmp_path)
    assert f"muniment admin ledger --database-restored --data {tmp_path}" in str(found.value)
    assert list(altered(tmp_path)) == [f"{FILE}: 7 leaves were signed, the ledger has only 4"]


@pytest.mark.parametrize("more", [0, 1, 6])
def test_entries_that_took_the_place_of_the_cut_ones_are_found(
    tmp_path: Path, clock: Clock, more: int
) -> None:
    cut_back(tmp_path, clock)
    record_some(3 + more, clock)
    with pytest.raises(WentBack, match="first 7 entries are not those that were signed"):
        check_kept(tmp_path)
    assert f"{FILE}: the leaves are not those that were signed" in list(altered(tmp_path))
    with pytest.raises(WentBack):
        keep_checkpoint(tmp_path)
    kept = kept_checkpoint(tmp_path)
    assert kept is not None
    assert kept.size == 7, "what was kept stays"


def test_a_ledger_that_went_on_is_none_that_went_back(tmp_path: Path, clock: Clock) -> None:
    check_kept(tmp_path)
    keep_checkpoint(tmp_path)
    assert not (tmp_path / FILE).exists(), "nothing was recorded"
    for _ in range(9):
        record_some(1, clock)
        check_kept(tmp_path)
        keep_checkpoint(tmp_path)
        record_some(2, clock)
        check_kept(tmp_path)
        assert not list(altered(tmp_path))


def test_what_is_kept_is_a_checkpoint_and_nothing_else(tmp_path: Path, clock: Clock) -> None:
    record_some(3, clock)
    keep_checkpoint(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    signed = public_key().open((tmp_path / FILE).read_text())
    assert (signed.size, signed.root) == (3, read_head().frontier.root)


def test_what_is_not_committed_is_not_kept(tmp_path: Path, clock: Clock) -> None:
    record_some(3, clock)
    with pytest.raises(ZeroDivisionError), writing():
        record(Kind.OPTED_OUT, clause="P44", payload={}, now=clock())
        raise ZeroDivisionError
    keep_checkpoint(tmp_path)
    check_kept(tmp_path)
    kept = kept_checkpoint(tmp_path)
    assert kept is not None
    assert kept.size == 3


def test_a_file_that_we_did_not_write_is_said_so(tmp_path: Path, clock: Clock) -> None:
    record_some(3, clock)
    keep_checkpoint(tmp_path)
    good = (tmp_path / FILE).read_bytes()
    for wrong in (b"", b"\xff", good[:-9], good.replace(b"\n3\n", b"\n2\n")):
        (tmp_path / FILE).write_bytes(wrong)
        for act in (check_kept, keep_checkpoint):
            with pytest.raises(KeptUnreadable, match="put it back from a backup"):
                act(tmp_path)
        assert is_behind(tmp_path), "the job has to run, and to fail"
        assert any(FILE in line for line in altered(tmp_path))


def test_a_head_that_does_not_fit_is_said_so(tmp_path: Path, clock: Clock) -> None:
    record_some(3, clock)
    keep_checkpoint(tmp_path)
    for size in (2, 5, 7, 20):
        Head.objects.update(size=size)
        with pytest.raises(HeadAltered, match="put back the newest backup"):
            keep_checkpoint(tmp_path)
        assert is_behind(tmp_path), "the job has to run, and to fail"


def test_the_job_keeps_what_was_recorded_and_fails_where_it_went_back(
    deployment: Deployment, clock: Clock
) -> None:
    Job.objects.all().delete()
    DayDone.objects.all().delete()
    runner = Runner(deployment, [each for each in TIMETABLE if each.name == "ledger"])
    data = deployment.config.data
    assert runner.run_due() == 0
    record_some(4, clock)
    assert not (data / FILE).exists(), "an append waits for no file"
    assert runner.run_due() == 1
    backup = Backup()
    record_some(3, clock)
    assert runner.run_due() == 1
    assert runner.run_due() == 0, "there is nothing new"
    kept = kept_checkpoint(data)
    assert kept is not None
    assert kept.size == 7
    backup.put_back()
    assert runner.run_due() == 1
    assert Job.objects.get(name="ledger").error == "WentBack"


def test_the_audit_reads_for_accountability_alone(member: Member, tmp_path: Path, clock: Clock) -> None:
    with writing():
        record(Kind.OPTED_OUT, clause="P44", payload={}, now=clock(), subject=member.account)
    with afresh(Purpose.ACCOUNTABILITY):
        assert not list(altered(tmp_path))


def test_a_database_put_back_is_accepted_once_recorded_and_shown(
    deployment: Deployment, clock: Clock
) -> None:
    data = deployment.config.data
    cut_back(data, clock)
    lost = kept_checkpoint(data)
    assert lost is not None
    accept_restored(data, now=clock())
    assert LeafRow.objects.get(number=4).kind == "database_restored"
    (told,) = restorations()
    assert (told.signed, told.found, told.root) == (7, 4, lost.root.hex())
    check_kept(data)
    assert not list(altered(data))
    page = Client(headers=HOST).get("/ledger").content.decode()
    assert "Database put back" in page
    assert lost.root.hex() in page
    with pytest.raises(NothingLost):
        accept_restored(data, now=clock())
    Opening.objects.filter(leaf__number__gte=4).delete()
    LeafRow.objects.filter(number__gte=4).delete()
    assert any(FILE in line for line in altered(data)), "nor does what was accepted go unseen"


def test_nothing_is_recorded_before_a_ledger_that_went_back_is_explained(clock: Clock) -> None:
    """The release's own version would be posted, in the place of an entry that was cut."""
    home = settings.LEDGER_KEY_FILE.parent
    config = ServerConfig(data=home, database_url=url_for(home))
    try:
        embedded.open_deployment(config)
        cut_back(home, clock)
        with pytest.raises(WentBack):
            embedded.open_deployment(config)
        assert LeafRow.objects.count() == 4
        desk = embedded.LedgerDesk.at(config)
        assert desk.altered()
        desk.accept_restored()
        assert not desk.altered()
        embedded.open_deployment(config)
    finally:
        (home / FILE).unlink(missing_ok=True)
