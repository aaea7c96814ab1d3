"""The server as a process: starting, stopping, dying, running out of things, staying silent about people."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import msgspec
import pytest

from muniment.model.codes import EnrolmentCode
from muniment.wire import messages as m
from muniment.wire.routes import PACK_HASH_HEADER
from tests.support.databases import rows
from tests.support.raw_device import RawDevice, RawPack, Refused
from tests.support.server import Served, wait_until

MIB = 1 << 20
COMMIT = 2 * 4096
"""What the head and the reference set of a small commit count."""


def _rows(server: Served, query: str) -> list[tuple[object, ...]]:
    return rows(server.data, query)


def _packs_on_disk(server: Served) -> list[Path]:
    return [path for path in (server.data / "objects").glob("*/packs/*/*") if path.is_file()]


def _begin_upload(device: RawDevice, pack: RawPack, *, send: int) -> socket.socket:
    """Send the head and the first `send` bytes, and hold the connection."""
    connection = socket.create_connection(("127.0.0.1", int(device.url.rpartition(":")[2])), timeout=30)
    head = (
        f"PUT {m.PREFIX}{device.pack_path(pack)} HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {device.token}\r\n"
        f"{PACK_HASH_HEADER}: {pack.sha256.hex()}\r\nContent-Length: {len(pack.content)}\r\n\r\n"
    ).encode()
    connection.sendall(head + pack.content[:send])
    return connection


def _incoming(server: Served) -> int:
    return int(_rows(server, "SELECT count(*) FROM vaults_pack WHERE state = 'incoming'")[0][0])  # type: ignore[call-overload]


def test_killed_during_an_upload(server: Served) -> None:
    device = RawDevice.enrol(server.url, server.create_account())
    device.open_session()
    kept = RawPack()
    device.put(kept)
    pack = RawPack(content=secrets.token_bytes(8 * MIB))
    with _begin_upload(device, pack, send=5 * MIB):
        wait_until(lambda: _incoming(server) == 1)
        wait_until(lambda: any((server.data / "objects/.incoming").iterdir()))
        server.kill()
    server.restart()
    assert _incoming(server) == 0
    assert list((server.data / "objects/.incoming").iterdir()) == []
    assert len(_packs_on_disk(server)) == 1
    assert device.get(pack.pack)[0] == 404
    assert device.put(pack).created is True
    assert device.put(kept).created is False, "what was acknowledged stays"
    assert device.commit(device.draft([pack.pack, kept.pack])).created


def test_a_sender_that_goes_away_leaves_nothing(server: Served) -> None:
    device = RawDevice.enrol(server.url, server.create_account())
    device.open_session()
    pack = RawPack(content=secrets.token_bytes(8 * MIB))
    connection = _begin_upload(device, pack, send=3 * MIB)
    wait_until(lambda: _incoming(server) == 1)
    connection.close()
    wait_until(lambda: _incoming(server) == 0)
    assert list((server.data / "objects/.incoming").iterdir()) == []
    assert _packs_on_disk(server) == []
    assert device.put(pack).created


def test_a_sender_that_falls_silent_is_let_go(tmp_path: Path) -> None:
    served = Served(tmp_path / "server", config={"stall": 1.0, "uploads": 2}).start()
    try:
        device = RawDevice.enrol(served.url, served.create_account())
        device.open_session()
        pack = RawPack(content=secrets.token_bytes(4 * MIB))
        with _begin_upload(device, pack, send=2 * MIB), _begin_upload(device, RawPack(), send=0):
            wait_until(lambda: _incoming(served) == 2)
            status, content, headers = device.try_put(pack)
            assert (status, headers["retry-after"]) == (429, "5")
            assert msgspec.json.decode(content, type=m.ErrorReply).error == "too_many_requests"
            wait_until(lambda: _incoming(served) == 0)
        assert device.put(pack).created
    finally:
        served.close()


def test_a_message_that_does_not_end_is_not_waited_for(tmp_path: Path) -> None:
    served = Served(tmp_path / "server", config={"stall": 2.0, "stranger_stall": 0.5}).start()
    try:
        device = RawDevice.enrol(served.url, served.create_account())
        for path, token, within in (
            ("/enrol", "", 0.5),
            (f"/vaults/{device.vault}/sessions", device.token, 2.0),
        ):
            begun = time.monotonic()
            with socket.create_connection(
                ("127.0.0.1", int(served.url.rpartition(":")[2])), timeout=30
            ) as line:
                head = f"POST {m.PREFIX}{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
                head += f"Authorization: Bearer {token}\r\n" if token else ""
                line.sendall(f"{head}\r\n{{".encode())
                answer = b"".join(iter(lambda: line.recv(4096), b""))
            assert b" 499 " in answer.partition(b"\r\n")[0], answer
            assert within <= time.monotonic() - begun < within + 10
    finally:
        served.close()


def test_a_slot_is_removed_after_the_owner_s_word_and_the_delay(tmp_path: Path) -> None:
    """Over the wire and with the real `muniment admin`, the 72 hours shortened by configuration."""
    served = Served(tmp_path / "server", config={"removal_delay": 3.0}).start()
    try:
        device = RawDevice.enrol(served.url, served.create_account())
        slots = [secrets.token_hex(16), secrets.token_hex(16)]
        wrapped = secrets.token_bytes(100)
        for slot in slots:
            device.at_vault("PUT", f"/slots/{slot}", m.Stored, m.WrappedSlot(slot=slot, wrapped=wrapped))
        lines = [
            m.SlotInfo(
                slot=slot, kind="passphrase", label="", device=None, added_by="x", added_at=0.0,
                digest=hashlib.sha256(wrapped).digest(),
            )
            for slot in slots
        ]  # fmt: skip
        body = msgspec.msgpack.encode(m.SlotList(vault=device.vault, number=1, previous=b"", slots=lines))
        signed = m.SignedSlotList(body=body, mac=b"x")
        listing = m.PutSlotList(expected_number=0, expected_hash=b"", signed=signed)
        device.at_vault("PUT", "/slot-list", m.Stored, listing)
        record = m.RemovalRecord(vault=device.vault, slot=slots[0], list_number=1, made_at=0.0)
        removal = m.SignedRemoval(record=msgspec.msgpack.encode(record), mac=b"x")
        asking = m.AskConfirmation(action="remove_slot", subject=slots[0], removal=removal)
        with pytest.raises(Refused) as refused:
            device.at_vault("POST", "/confirmations", m.ErrorReply, asking)
        request = refused.value.reply.request
        assert request is not None
        assert served.confirm(request)["state"] == "confirmed"
        assert {slot.slot for slot in device.keys().slots} == set(slots)
        wait_until(lambda: {slot.slot for slot in device.keys().slots} == {slots[1]})
        assert device.keys().removals == [removal]
    finally:
        served.close()


def test_stops_within_a_second_even_while_someone_sends(server: Served) -> None:
    device = RawDevice.enrol(server.url, server.create_account())
    device.open_session()
    pack = RawPack(content=secrets.token_bytes(8 * MIB))
    with _begin_upload(device, pack, send=MIB):
        wait_until(lambda: _incoming(server) == 1)
        begun = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begun < 5, "one second, and what a busy machine adds"
    server.restart()
    assert _incoming(server) == 0
    assert device.put(pack).created


def test_work_that_was_acknowledged_survives_kill(server: Served) -> None:
    """Four senders; the server dies in the middle; every acknowledged pack is whole afterwards."""
    device = RawDevice.enrol(server.url, server.create_account())
    device.open_session()
    packs = [RawPack(content=secrets.token_bytes(MIB)) for _ in range(60)]
    acknowledged: list[RawPack] = []

    def run(mine: list[RawPack]) -> None:
        for pack in mine:
            try:
                device.put(pack)
            except (OSError, http.client.HTTPException):
                return
            acknowledged.append(pack)

    threads = [threading.Thread(target=run, args=(packs[number::4],)) for number in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(acknowledged) >= 8, seconds=60)
    server.kill()
    for thread in threads:
        thread.join()
    assert len(acknowledged) < len(packs)
    server.restart()
    for pack in acknowledged:
        assert device.get(pack.pack)[1] == pack.content
    known = device.at_vault(
        "POST",
        "/packs/known",
        m.KnownPacks,
        m.KnownPacksRequest(session=device.session, packs=[p.pack for p in packs]),
    )
    assert set(known.held) >= {pack.pack for pack in acknowledged}
    assert len(_packs_on_disk(server)) == len(known.held), "nothing on disk that no row names"
    for pack in packs:
        device.put(pack)
    assert device.commit(device.draft(pack.pack for pack in packs)).created
    assert device.keys().vault.used == len(packs) * MIB + COMMIT


def test_one_server_per_directory(server: Served) -> None:
    second = Served(server.data)
    with pytest.raises(AssertionError, match="another server is using"):
        second.start()
    second.close()


def test_a_taken_port_is_one_clear_line(server: Served, tmp_path: Path) -> None:
    second = Served(tmp_path / "second")
    with pytest.raises(AssertionError, match=r"cannot serve on 127\.0\.0\.1 port"):
        second.start(port=server.port)
    second.close()


def test_admin_works_with_and_without_the_server(tmp_path: Path) -> None:
    served = Served(tmp_path / "server")
    code = served.create_account("first@example.org")
    served.start()
    try:
        device = RawDevice.enrol(served.url, code)
        assert device.vault
        further = RawDevice.enrol(served.url, served.enrol("first@example.org"))
        assert further.vault == device.vault
        again = served.try_admin("create-account", "first@example.org")
        assert again.returncode == 1
        assert "has an account already" in again.stderr
        nobody = served.try_admin("enrol", "nobody@example.org")
        assert (nobody.returncode, "no account" in nobody.stderr) == (1, True)
        assert served.try_admin("confirm", "ab" * 16, "--reason", "x").returncode == 1
        assert served.try_admin("confirm", "ab" * 16).returncode == 2, "no decision without a reason"
        assert served.try_admin("create-account", "no address").returncode == 2
    finally:
        served.close()


def test_the_identity_is_made_once_and_private(server: Served) -> None:
    key = server.data / "identity.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    before = key.read_bytes()
    hashes = {EnrolmentCode.parse(server.create_account()).server_key_hash}
    server.restart()
    hashes.add(EnrolmentCode.parse(server.enrol()).server_key_hash)
    assert key.read_bytes() == before
    assert len(hashes) == 1


def test_files_are_the_operator_s_alone(tmp_path: Path) -> None:
    """Also in a directory that others may enter."""
    (tmp_path / "server").mkdir(mode=0o755)
    served = Served(tmp_path / "server").start()
    try:
        RawDevice.enrol(served.url, served.create_account()).back_up(RawPack())
    finally:
        served.close()
    paths = list(served.data.rglob("*"))
    assert len(paths) > 10
    assert [path for path in paths if path.stat().st_mode & 0o077] == []


def test_health(server: Served) -> None:
    with urllib.request.urlopen(server.url + "/healthz") as answer:
        assert json.load(answer) == {"ok": True, "database": True, "store": True, "jobs": True}
    (server.data / "objects/.incoming").rmdir()
    with pytest.raises(urllib.error.HTTPError) as failed:
        urllib.request.urlopen(server.url + "/healthz")
    assert failed.value.code == 503
    assert json.load(failed.value) == {"ok": False, "database": True, "store": False, "jobs": True}


def test_out_of_disk_is_said_and_nothing_half_written_stays(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands in for a full disk: the server answers 507, goes on, and leaves no bytes."""
    served = Served(tmp_path / "server", prefix=[sys.executable, "-c", _LIMIT, str(6 * MIB)]).start()
    try:
        device = RawDevice.enrol(served.url, served.create_account())
        device.open_session()
        status, content, headers = device.try_put(RawPack(content=secrets.token_bytes(8 * MIB)))
        assert (status, msgspec.json.decode(content, type=m.ErrorReply).error) == (507, "storage_full")
        assert int(headers["retry-after"]) > 0
        assert _incoming(served) == 0
        assert list((served.data / "objects/.incoming").iterdir()) == []
        assert device.put(RawPack(content=secrets.token_bytes(2 * MIB))).created
        assert device.keys().vault.used == 2 * MIB
    finally:
        served.close()


_LIMIT = """
import os, resource, signal, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_memory_stays_bounded_under_eight_senders(server: Served) -> None:
    device = RawDevice.enrol(server.url, server.create_account())
    device.open_session()
    content = secrets.token_bytes(16 * MIB)
    before = server.peak_memory()

    def run() -> None:
        for _ in range(2):
            device.put(RawPack(content=content))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert device.keys().vault.used == 16 * 16 * MIB
    assert server.peak_memory() <= 150 * MIB, f"was {before >> 20} MiB before"


def test_logs_say_what_happened_and_to_nobody(server: Served) -> None:
    email, name = f"{secrets.token_hex(8)}@example.org", f"laptop-{secrets.token_hex(8)}"
    code = server.create_account(email)
    device = RawDevice.enrol(server.url, code, name=name)
    pack = RawPack()
    device.back_up(pack)
    device.get(pack.pack)
    with pytest.raises(Refused):
        device.at_vault("GET", "/snapshots/" + "ab" * 32 + "/packs", m.SnapshotPacks)
    server.stop()
    text = server.log.read_text()
    for private in (email, name, code, device.token, device.vault, device.device, pack.pack, "127.0.0.1"):
        assert private not in text
    lines = [json.loads(line) for line in text.splitlines()]
    put = [line for line in lines if line.get("route") == "PUT /vaults/{vault}/packs/{pack}"]
    assert [(line["status"], line["received"]) for line in put] == [(200, 65536)]
    assert any(line.get("status") == 404 and line.get("code") == "not_found" for line in lines)
    assert all(line["request"] and line["ms"] >= 0 for line in put)


def test_secrets_are_not_stored(server: Served) -> None:
    """Neither tokens nor codes nor kit credentials are in the database, on disk, or in the log."""
    code = server.create_account()
    device = RawDevice.enrol(server.url, code)
    device.back_up(RawPack())
    server.stop()
    needles = [
        device.token.encode(),
        EnrolmentCode.parse(code).secret,
        EnrolmentCode.parse(code).secret.hex().encode(),
        code.encode(),
    ]
    files = [path for path in server.data.rglob("*") if path.is_file()] + [server.log]
    assert len(files) >= 6
    for path in files:
        content = path.read_bytes()
        assert not any(needle in content for needle in needles), path


def test_the_server_s_process_never_loads_keys_or_engine(server: Served) -> None:
    """Blind at run time too: what handles plaintext is not even imported."""
    probe = (
        "import sys\n"
        "from pathlib import Path\n"
        "from muniment.main.serve import load_embedded\n"
        "from muniment.server.config import ServerConfig\n"
        "load_embedded('serve', ServerConfig(data=Path(sys.argv[1])))\n"
        "print(sorted(n for n in sys.modules if n.startswith('muniment.')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, str(server.data)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "muniment.server.vaults.receive" in done.stdout
    for package in ("crypto", "engine", "format", "client"):
        assert f"muniment.{package}" not in done.stdout


def test_an_undeclared_column_stops_the_start(tmp_path: Path) -> None:
    """Planted by removing a declaration before the server starts."""
    plant = (
        "import sys, runpy\n"
        "import muniment.server.privacy.registry as registry\n"
        "registry.public.__code__ = (lambda field, *, why: field).__code__\n"
        "sys.argv[:] = sys.argv[1:]\n"
        "runpy.run_module('muniment.main.serve', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", plant, "serve", "--data", str(tmp_path / "server"), "--port", "0", "--json"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert done.stdout == ""
    assert "is not declared personal or public" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "server/muniment.sqlite3").exists(), "not even created"


def test_terminal_interrupt_stops_it_too(server: Served) -> None:
    assert server.process is not None
    os.kill(server.pid, signal.SIGINT)
    assert server.process.wait(timeout=10) == 0
