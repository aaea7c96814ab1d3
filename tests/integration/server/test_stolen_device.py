"""A thief has a device's token and does what it lets him. The owner's other device goes on backing up."""

from __future__ import annotations

import secrets

import pytest

from muniment.client.transport.server import JSON_MOST
from muniment.model.packs import HEAD_CEILING
from muniment.wire import messages as m
from tests.support.raw_device import RawDevice, RawPack, Refused, send
from tests.support.server import Served

ALLOWANCE = 8 << 20


def _stored(server: Served) -> int:
    return sum(path.stat().st_size for path in (server.data / "objects").rglob("*") if path.is_file())


@pytest.fixture
def owner(server: Served) -> RawDevice:
    device = RawDevice.enrol(server.url, server.create_account())
    server.admin("set-allowance", "owner@example.org", str(ALLOWANCE))
    return device


@pytest.fixture
def thief(server: Served, owner: RawDevice) -> RawDevice:
    device = RawDevice.enrol(server.url, server.enrol())
    device.open_session()
    return device


def _refused(attempt: object, *arguments: object, most: int = 500) -> Refused:
    """What the server says in the end; AssertionError where it never has enough."""
    for _ in range(most):
        try:
            attempt(*arguments)  # type: ignore[operator]
        except Refused as refused:
            return refused
    raise AssertionError("nothing stopped it")


def _assert_goes_on(owner: RawDevice) -> None:
    for _ in range(4):
        owner.back_up(RawPack())


def test_a_commit_loop_does_not_fill_the_disk(server: Served, owner: RawDevice, thief: RawDevice) -> None:
    """The largest heads, each a snapshot of nothing."""

    def commit() -> None:
        thief.newest = None
        thief.commit(thief.draft([], head=secrets.token_bytes(HEAD_CEILING)))

    refused = _refused(commit)
    assert (refused.status, refused.code) == (507, "vault_full")
    assert refused.reply.short_by
    assert "kept for the vault's other devices" in refused.reply.advice
    assert _stored(server) <= 0.91 * ALLOWANCE
    _assert_goes_on(owner)


def test_commits_that_are_refused_store_nothing(server: Served, owner: RawDevice, thief: RawDevice) -> None:
    before = _stored(server)
    for fields in (
        {"slot_list_number": 1},
        {"counter": 2},
        {"session": "cd" * 16},
        {"packs_hash": bytes(32)},
    ):
        with pytest.raises(Refused):
            thief.commit(thief.draft([], head=secrets.token_bytes(HEAD_CEILING), **fields))
    with pytest.raises(Refused):
        thief.commit(thief.draft(["ab" * 16], head=secrets.token_bytes(HEAD_CEILING)))
    assert _stored(server) == before


def test_slot_lists_that_say_nothing_new_are_not_kept(
    server: Served, owner: RawDevice, thief: RawDevice
) -> None:
    before = _stored(server)
    for _ in range(3):
        slot = secrets.token_hex(16)
        wrapped = m.WrappedSlot(slot=slot, wrapped=secrets.token_bytes(16384))
        thief.at_vault("PUT", f"/slots/{slot}", m.Stored, wrapped)
    assert _stored(server) - before == 3 * 16384
    refused = _refused(_put_slot, thief)
    assert (refused.status, refused.reply.reason) == (409, "too_many")
    assert _stored(server) - before == 64 * 16384
    _put_slot(owner)


def _put_slot(device: RawDevice) -> None:
    slot = secrets.token_hex(16)
    wrapped = m.WrappedSlot(slot=slot, wrapped=secrets.token_bytes(16384))
    device.at_vault("PUT", f"/slots/{slot}", m.Stored, wrapped)


def test_sessions_reports_and_requests_are_bounded(tmp_path: object) -> None:
    bounds = {"visits": 5, "open_requests": 1}
    served = Served(tmp_path / "server", config=bounds).start()  # type: ignore[operator]
    try:
        owner = RawDevice.enrol(served.url, served.create_account())
        thief = RawDevice.enrol(served.url, served.enrol())
        report = m.RunReport(
            session=None, set_id="ab" * 16, outcome="done", coverage=m.Coverage(),
            bytes_bound=1 << 20, seconds=1.0, client_version="test",
        )  # fmt: skip
        for attempt in (thief.open_session, lambda: thief.at_vault("POST", "/runs", m.Stored, report)):
            refused = _refused(attempt, most=6)
            assert (refused.status, refused.code) == (429, "too_many_requests")
            assert 80_000 < int(refused.headers["retry-after"]) <= 86_400
        for subject, code in ((owner.device, "needs_confirmation"), (thief.device, "too_many_requests")):
            asking = m.AskConfirmation(action="revoke_device", subject=subject)
            with pytest.raises(Refused) as said:
                thief.at_vault("POST", "/confirmations", m.ErrorReply, asking)
            assert said.value.code == code
        owner.back_up(RawPack())
    finally:
        served.kill()


def test_what_everybody_reads_stays_short(server: Served, owner: RawDevice, thief: RawDevice) -> None:
    """The newest head of each set goes to whoever opens the vault: as many of the largest as are taken."""
    server.admin("set-allowance", "owner@example.org", str(1 << 30))
    longer = thief.draft([], head=secrets.token_bytes(HEAD_CEILING + 1), parent=None)
    with pytest.raises(Refused) as refused:
        thief.commit(longer)
    assert refused.value.code == "malformed"

    def commit() -> None:
        thief.newest, thief.set_id = None, secrets.token_hex(16)
        thief.commit(thief.draft([], head=secrets.token_bytes(HEAD_CEILING)))

    stopped = _refused(commit, most=100)
    assert (stopped.code, stopped.reply.reason) == ("commit_conflict", "sets")
    status, content, _ = send(server.url, "GET", f"/vaults/{owner.vault}/keys", token=owner.token)
    assert status == 200
    assert len(content) < JSON_MOST / 5
    thief.newest, thief.set_id = None, thief.keys().heads[0].set_id
    thief.commit(thief.draft([]))  # a set that there is goes on
    _assert_goes_on(owner)
