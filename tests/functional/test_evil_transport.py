"""An evil server below the messages: its identity, its protocol, and how it says what it says."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from muniment.client.transport import connections
from muniment.crypto.codes import RecoveryKit
from muniment.server.identity import load_identity, public_key_of, self_certificate
from muniment.wire import messages as wire
from tests.support.evil import Evil, Exchange
from tests.support.machine import Machine
from tests.support.server import Served

change = msgspec.structs.replace


@dataclass
class Plain:
    """A server and a machine that is connected to it; the vault is empty."""

    served: Served
    alice: Machine
    kit: str


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plain]:
    base = tmp_path_factory.mktemp("plain")
    served = Served(base / "server").start()
    try:
        alice = Machine(base / "alice")
        kit = alice.join(served.url, served.create_account()).expect(0).result["recovery_kit"]
        yield Plain(served, alice, kit)
    finally:
        served.close()


@pytest.fixture
def alice(plain: Plain, tmp_path: Path) -> Machine:
    return plain.alice.copy_to(tmp_path / "alice")


@pytest.fixture
def evil(plain: Plain) -> Iterator[Evil]:
    with Evil(plain.served.url) as proxy:
        yield proxy


# --- who the server is, and what it speaks


def other_identity(info: wire.ServerInfo) -> wire.ServerInfo:
    return change(info, identity=public_key_of(ec.generate_private_key(ec.SECP256R1())))


GREETINGS = {
    "other-identity": (other_identity, "UntrustedServer", 5),
    "no-identity": (lambda info: change(info, identity=b""), "UntrustedServer", 5),
    "older-protocol-only": (lambda info: change(info, protocols=[0]), "MunimentError", 1),
    "newer-protocol-only": (lambda info: change(info, protocols=[2, 3]), "MunimentError", 1),
    "no-protocol": (lambda info: change(info, protocols=[]), "MunimentError", 1),
}


@pytest.mark.parametrize("name", GREETINGS)
@pytest.mark.parametrize("way", ["connect", "kit"])
def test_nothing_is_sent_to_the_wrong_server(
    plain: Plain, evil: Evil, name: str, way: str, tmp_path: Path
) -> None:
    twist, error, code = GREETINGS[name]
    evil.rewrite("server", wire.ServerInfo, twist)
    machine = Machine(tmp_path / "new")
    if way == "connect":
        ran = machine.join(evil.url, plain.served.enrol())
    else:
        ran = machine.muniment("--kit", plain.kit, "snapshots", server=evil.url)
    assert (ran.error, ran.code) == (error, code), ran
    assert evil.routes == ["server"]
    assert not list((tmp_path / "new").rglob("*.json"))


def test_other_key_behind_tls_gets_no_request(tmp_path: Path) -> None:
    """`--tls self`: the code, the device and the kit know the key; a certificate of another is refused."""
    served = Served(tmp_path / "server", options=["--tls", "self"]).start()
    try:
        code = served.create_account()
        alice = Machine(tmp_path / "alice")
        kit = alice.join(served.url, code).expect(0).result["recovery_kit"]
        other = tmp_path / "other"
        other.mkdir()
        certificate = self_certificate(other, load_identity(other), host="127.0.0.1", now=datetime.now(UTC))
        with Evil(served.url, certificate=certificate) as evil:
            for ran in (
                alice.muniment("snapshots", server=evil.url),
                Machine(tmp_path / "new").join(evil.url, served.enrol()),
                Machine(tmp_path / "bare").muniment("--kit", kit, "snapshots", server=evil.url),
            ):
                assert (ran.error, ran.code) == ("UntrustedServer", 5), ran
            assert evil.log == []
        # The same proxy with the true key is believed: it was the key that was refused.
        true = self_certificate(
            served.data, load_identity(served.data), host="127.0.0.1", now=datetime.now(UTC)
        )
        with Evil(served.url, certificate=true) as evil:
            alice.muniment("snapshots", server=evil.url).expect(0)
        assert RecoveryKit.parse(kit).pinned
    finally:
        served.close()


def test_plain_http_is_not_spoken_to_another_machine(alice: Machine) -> None:
    ran = alice.muniment("snapshots", server="http://192.0.2.1:9")
    assert (ran.error, ran.code) == ("UsageError", 2)


# --- how it answers


def drip(sock: socket.socket) -> None:
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        sock.sendall(b" ")
        time.sleep(0.05)


def drip_headers(sock: socket.socket) -> None:
    sock.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        sock.sendall(b"x")
        time.sleep(0.05)


def silence(sock: socket.socket) -> None:
    sock.recv(1)


def endless(sock: socket.socket) -> None:
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n[")
    piece = b"0," * (1 << 19)
    while True:
        sock.sendall(piece)


def endless_chunks(sock: socket.socket) -> None:
    sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
    while True:
        sock.sendall(piece)


def endless_headers(sock: socket.socket) -> None:
    sock.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        sock.sendall(b"X-A: b\r\n" * 4096)


def said(*pieces: bytes) -> Callable[[socket.socket], None]:
    return lambda sock: sock.sendall(b"".join(pieces))


SPOKEN = {
    "drip": drip,
    "drip-headers": drip_headers,
    "silence": silence,
    "endless": endless,
    "endless-chunks": endless_chunks,
    "endless-headers": endless_headers,
    "absurd-length": said(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}"),
    "negative-length": said(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}"),
    "short-body": said(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{}"),
    "not-http": said(b"\x1b]0;owned\x07 not a status line \x1b[2J\r\n\r\n"),
    "nothing": said(b""),
}


@pytest.mark.parametrize("name", SPOKEN)
def test_bad_speech_ends_in_bounded_time(
    alice: Machine, evil: Evil, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "SILENCE_SECONDS", 1.0)
    alice.muniment("snapshots", server=evil.url).expect(0)  # imports and first sight are not what is measured
    evil.speak("keys", SPOKEN[name])
    begun = time.monotonic()
    ran = alice.muniment("snapshots", server=evil.url, MUNIMENT_PATIENCE="0.2")
    took = time.monotonic() - begun
    assert ran.error in {"ServerUnreachable", "MunimentError"}, ran
    assert ran.code == 1
    assert took < 15
    assert "\x1b" not in ran.out + ran.err


BODIES = {
    "not-json": b"<html>",
    "no-utf8": b'{"vault": "\xff\xfe"}',
    "other-shape": b"[1, 2, 3]",
    "null": b"null",
    "empty": b"",
    "deep": b"[" * 1_000_000,
    "deep-objects": b'{"vault":' * 200_000,
    "unknown-field": b'{"backdoor": true}',
    "terminal-in-field-name": json.dumps({"\x1b]0;owned\x07\x1b[2J": 1}).encode(),
    "huge-number": b'{"vault": ' + b"9" * 1_000_000 + b"}",
}


@pytest.mark.parametrize("name", BODIES)
def test_answer_of_another_shape_is_refused(alice: Machine, evil: Evil, name: str) -> None:
    evil.usurp("keys", lambda exchange: exchange.answer(BODIES[name]))
    ran = alice.muniment("snapshots", server=evil.url)
    assert (ran.error, ran.code) == ("MunimentError", 1), ran
    assert evil.routes == ["keys"]
    shown = alice.told("snapshots", "--server", evil.url)
    assert "\x1b" not in shown.out + shown.err
    assert "Traceback" not in shown.err


def test_unknown_field_in_a_true_answer_is_refused(alice: Machine, evil: Evil) -> None:
    def add_field(exchange: Exchange) -> None:
        exchange.answer(json.dumps(json.loads(exchange.content) | {"also": 1}).encode())

    evil.alter("keys", add_field)
    assert alice.muniment("snapshots", server=evil.url).error == "MunimentError"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(alice: Machine, evil: Evil, plain: Plain, status: int) -> None:
    with Evil(plain.served.url) as elsewhere:
        evil.usurp("keys", lambda exchange: exchange.answer(
            b"", status=status, Location=elsewhere.url + exchange.target
        ))  # fmt: skip
        ran = alice.muniment("snapshots", server=evil.url)
        assert ran.code == 1, ran
        assert ran.error == "MunimentError"
        assert elsewhere.log == []
        assert evil.routes == ["keys"]


@pytest.mark.parametrize(
    "wait", ["999999999999", "1e308", "-5", "nan", "inf", "Fri, 31 Dec 9999 23:59:59 GMT", "soon"]
)
def test_retry_after_cannot_hold_us(alice: Machine, evil: Evil, wait: str) -> None:
    alice.muniment("snapshots", server=evil.url).expect(0)  # imports and first sight are not what is measured
    evil.usurp("keys", lambda exchange: exchange.answer(
        wire.ErrorReply(error="unavailable", message="later"), status=503, Retry_After=wait
    ))  # fmt: skip
    begun = time.monotonic()
    ran = alice.muniment("snapshots", server=evil.url, MUNIMENT_PATIENCE="1")
    took = time.monotonic() - begun
    assert (ran.error, ran.code) == ("ServerUnreachable", 1), ran
    assert took < 5


# --- what it writes reaches a terminal as text

NASTY = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\n\u202eevil\u2066"
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.mark.parametrize(
    "code", ["not_granted", "malformed", "unknown", "needs_confirmation", "not_found", "internal"]
)
def test_error_text_is_neutralised(alice: Machine, evil: Evil, code: str) -> None:
    evil.usurp("keys", lambda exchange: exchange.answer(
        wire.ErrorReply(error=code, message=NASTY * 50, advice=NASTY, request=NASTY, reason=NASTY), status=403
    ))  # fmt: skip
    shown = alice.told("snapshots", "--server", evil.url, MUNIMENT_PATIENCE="0")
    assert shown.code not in (0, 5)
    assert shown.err
    assert not CONTROL.search(shown.out + shown.err), repr(shown.out + shown.err)


def test_names_from_the_server_are_neutralised(alice: Machine, evil: Evil) -> None:
    evil.rewrite("devices", wire.DeviceList, lambda said: change(
        said, devices=[change(said.devices[0], name=NASTY)]
    ))  # fmt: skip
    evil.rewrite("events", wire.EventPage, lambda said: change(
        said, events=[change(said.events[0], kind=NASTY, detail={NASTY: NASTY})]
    ))  # fmt: skip
    for command in (["devices", "list"], ["events"]):
        shown = alice.told(*command, "--server", evil.url)
        assert shown.code == 0, shown
        assert "owned" in shown.out
        assert not CONTROL.search(shown.out + shown.err), repr(shown.out)
