"""The data plane over HTTP: every route, every refusal, what may be repeated."""

from __future__ import annotations

import hashlib
import json
import secrets
import socket
import ssl
import threading
import time
from pathlib import Path

import msgspec
import pytest

from muniment.model.codes import EnrolmentCode, server_key_hash
from muniment.model.packs import PACK_CEILING
from muniment.server.dataplane.openapi import api_document
from muniment.wire import messages as m
from muniment.wire.errors import RULES, ErrorCode
from muniment.wire.routes import PACK_HASH_HEADER, ROUTES, Auth
from tests.support.raw_device import KIB64, RawDevice, RawPack, Refused, ask, send
from tests.support.server import Served

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def device(shared_server: Served) -> RawDevice:
    """A new account's first device at a vault of its own, in an open session."""
    code = shared_server.create_account(f"{secrets.token_hex(6)}@example.org")
    made = RawDevice.enrol(shared_server.url, code)
    made.open_session()
    return made


def _reply(content: bytes) -> m.ErrorReply:
    return msgspec.json.decode(content, type=m.ErrorReply)


def test_the_server_says_what_it_is(shared_server: Served) -> None:
    info = ask(shared_server.url, "GET", "/server", m.ServerInfo)
    assert info.protocols == [m.PROTOCOL]
    assert abs(info.time - time.time()) < 60
    code = EnrolmentCode.parse(shared_server.create_account(f"{secrets.token_hex(6)}@example.org"))
    assert code.server_key_hash == server_key_hash(info.identity)
    assert (code.new_vault, code.pinned) == (True, False)


def test_the_kept_description_is_the_served_one(shared_server: Served) -> None:
    status, served, _ = send(shared_server.url, "GET", "/openapi.json")
    assert status == 200
    assert served.decode() == api_document()
    kept = (REPOSITORY / "docs/reference/openapi.json").read_text(encoding="utf-8")
    assert kept == api_document(), "python -m muniment.server.dataplane.openapi > docs/reference/openapi.json"


def test_a_backup_and_a_restore(device: RawDevice) -> None:
    packs = [RawPack(), RawPack(kind=2), RawPack(content=secrets.token_bytes(4 << 20))]
    committed = device.back_up(*packs)
    page = device.at_vault("GET", "/snapshots", m.SnapshotPage)
    assert [head.snapshot for head in page.snapshots] == [committed.snapshot]
    needed = device.at_vault("GET", f"/snapshots/{committed.snapshot}/packs", m.SnapshotPacks)
    by_id = {pack.pack: pack for pack in packs}
    assert {info.pack for info in needed.packs} == set(by_id)
    for info in needed.packs:
        status, content, headers = device.get(info.pack)
        assert (status, content) == (200, by_id[info.pack].content)
        assert headers[PACK_HASH_HEADER.lower()] == info.sha256.hex() == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=65536-131071", 65536, 131071),
        ("bytes=4000000-", 4000000, (4 << 20) - 1),
        ("bytes=0-99999999", 0, (4 << 20) - 1),
        ("bytes=1000000-3500000", 1000000, 3500000),
    ],
)
def test_ranges(device: RawDevice, asked: str, first: int, last: int) -> None:
    pack = RawPack(content=secrets.token_bytes(4 << 20))
    device.put(pack)
    status, content, headers = device.get(pack.pack, byte_range=asked)
    assert (status, content) == (206, pack.content[first : last + 1])
    assert headers["content-range"] == f"bytes {first}-{last}/{4 << 20}"


@pytest.mark.parametrize(
    "asked", ["bytes=-5", "bytes=5-4", "bytes=99999999-", "bytes=0-1,5-6", "lines=1-2", "x"]
)
def test_ranges_that_are_not_understood(device: RawDevice, asked: str) -> None:
    pack = RawPack()
    device.put(pack)
    status, content, _ = device.get(pack.pack, byte_range=asked)
    assert (status, _reply(content).error) == (400, "malformed")


def test_every_route_refuses_strangers(shared_server: Served, device: RawDevice) -> None:
    """Without a token, with an unknown one, with another account's: before any body is looked at."""
    code = shared_server.create_account(f"{secrets.token_hex(6)}@example.org")
    stranger = RawDevice.enrol(shared_server.url, code)
    asked = 0
    for route in ROUTES:
        if route.auth is Auth.NONE:
            continue
        path = route.path.replace("{vault}", device.vault).replace("{snapshot}", "ab" * 32)
        for name in ("slot", "session", "pack"):
            path = path.replace("{" + name + "}", "ab" * 16)
        headers = {}
        if route.name == "put_pack":
            path += f"?session={'ab' * 16}&kind=1&epoch=0"
            headers = {PACK_HASH_HEADER: "ab" * 32}
        body = None if route.request is None else b"\0" * 100
        for token, status, error in (
            (None, 401, "unauthenticated"),
            ("mdt_unknown", 401, "unauthenticated"),
            ("mkt_unknown", None, None),
            (stranger.token, 403, "not_granted"),
        ):
            if token == stranger.token and route.name == "create_vault":
                continue
            got, content, answered = send(
                shared_server.url, route.method, path, token=token, body=body, headers=headers
            )
            if status is None:
                assert got in (401, 403), (route.name, token, content)
                continue
            assert (got, _reply(content).error) == (status, error), (route.name, token)
            assert (got == 401) == ("www-authenticate" in answered)
            asked += 1
    assert asked >= 3 * 16


def _upload_head(device: RawDevice, pack: RawPack, *, size: int | str, token: str | None = None) -> bytes:
    return (
        f"PUT {m.PREFIX}{device.pack_path(pack)} HTTP/1.1\r\nHost: test\r\n"
        f"Authorization: Bearer {device.token if token is None else token}\r\n"
        f"{PACK_HASH_HEADER}: {pack.sha256.hex()}\r\nContent-Length: {size}\r\n\r\n"
    ).encode()


def _first_answer(url: str, request: bytes) -> bytes:
    """The status line and what follows, sent without waiting for the rest of our request."""
    host, _, port = url.rpartition("/")[2].partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(request)
        return _whole_answer(connection)


def _whole_answer(connection: socket.socket) -> bytes:
    """Head and body of one answer, which may come in several pieces."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += _more(connection)
    head, _, body = got.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    length = int(fields[b"content-length"])
    while len(body) < length:
        body += _more(connection)
    return head + b"\r\n\r\n" + body


def _more(connection: socket.socket) -> bytes:
    piece = connection.recv(65536)
    assert piece, "the answer ended too early"
    return piece


def test_refusals_come_before_the_body(shared_server: Served, device: RawDevice) -> None:
    pack = RawPack()
    head = _upload_head(device, pack, size=KIB64, token="mdt_unknown")
    assert b" 401 " in _first_answer(shared_server.url, head)
    head = _upload_head(device, pack, size=PACK_CEILING + 1)
    assert b" 422 " in _first_answer(shared_server.url, head)
    head = _upload_head(device, pack, size=KIB64 + 1)
    assert b" 422 " in _first_answer(shared_server.url, head)
    device.session, kept = "ab" * 16, device.session
    assert b" 410 " in _first_answer(shared_server.url, _upload_head(device, pack, size=KIB64))
    device.session = kept
    device.put(pack)
    held = _first_answer(shared_server.url, _upload_head(device, pack, size=KIB64))
    assert b" 200 " in held
    assert b'"created":false' in held


def test_a_body_needs_its_length(shared_server: Served, device: RawDevice) -> None:
    head = _upload_head(device, RawPack(), size=1).replace(
        b"Content-Length: 1", b"Transfer-Encoding: chunked"
    )
    answer = _first_answer(shared_server.url, head)
    assert b" 400 " in answer
    assert b"malformed" in answer


def test_wrong_bytes_are_refused_and_can_be_sent_again(device: RawDevice) -> None:
    pack = RawPack()
    status, content, _ = device.try_put(pack, **{PACK_HASH_HEADER: "00" * 32})
    assert (status, _reply(content).error) == (422, "hash_mismatch")
    assert device.get(pack.pack)[0] == 404
    assert device.put(pack).created


def test_repeats_and_conflicts(device: RawDevice) -> None:
    pack = RawPack()
    assert device.put(pack).created is True
    assert device.put(pack).created is False
    status, content, _ = device.try_put(RawPack(pack=pack.pack))
    assert (status, _reply(content).error) == (409, "pack_conflict")
    draft = device.draft([pack.pack])
    assert device.commit(draft).created is True
    assert device.commit(draft).created is False
    with pytest.raises(Refused) as refused:
        device.at_vault("POST", "/commit", m.Committed, device.draft([], counter=1))
    assert (refused.value.code, refused.value.reply.reason) == ("commit_conflict", "counter")
    assert refused.value.reply.newest is not None
    assert refused.value.reply.newest.head == draft.head


def test_two_devices_commit_at_once(shared_server: Served) -> None:
    """Different devices of one vault never conflict; one device racing itself wins once."""
    email = f"{secrets.token_hex(6)}@example.org"
    first = RawDevice.enrol(shared_server.url, shared_server.create_account(email))
    second = RawDevice.enrol(shared_server.url, shared_server.enrol(email))
    assert second.vault == first.vault
    results: list[str] = []

    def run(device: RawDevice) -> None:
        for _ in range(5):
            results.append(device.back_up(RawPack(), RawPack()).snapshot)

    threads = [threading.Thread(target=run, args=(device,)) for device in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    page = first.at_vault("GET", "/snapshots", m.SnapshotPage)
    assert sorted(results) == sorted(head.snapshot for head in page.snapshots)
    assert len(set(results)) == 10
    drafts = [first.draft([]) for _ in range(6)]
    outcomes: list[str] = []

    def race(draft: m.Commit) -> None:
        try:
            first.at_vault("POST", "/commit", m.Committed, draft)
        except Refused as refused:
            outcomes.append(str(refused.reply.reason))
        else:
            outcomes.append("created")

    threads = [threading.Thread(target=race, args=(draft,)) for draft in drafts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["counter"] * 5 + ["created"]


def test_the_same_pack_from_many_connections(device: RawDevice) -> None:
    pack = RawPack(content=secrets.token_bytes(1 << 20))
    created: list[bool] = []
    threads = [threading.Thread(target=lambda: created.append(device.put(pack).created)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(created) == [False] * 5 + [True]
    assert device.keys().vault.used == 1 << 20
    assert device.get(pack.pack)[1] == pack.content


def test_over_allowance_and_more_allowance(shared_server: Served) -> None:
    email = f"{secrets.token_hex(6)}@example.org"
    device = RawDevice.enrol(shared_server.url, shared_server.create_account(email))
    allowance = KIB64 + 20_000
    shared_server.admin("set-allowance", email, str(allowance))
    assert device.open_session().allowance == allowance
    device.put(RawPack())
    status, content, headers = device.try_put(RawPack())
    reply = _reply(content)
    assert (status, reply.error, reply.short_by) == (507, "vault_full", KIB64 - 20_000 + allowance // 64)
    assert "retry-after" not in headers, "repeating does not help"
    shared_server.admin("set-allowance", email, str(2 * allowance))
    assert device.put(RawPack()).created


def test_a_revoked_device_is_out_at_its_next_request(shared_server: Served) -> None:
    email = f"{secrets.token_hex(6)}@example.org"
    owner = RawDevice.enrol(shared_server.url, shared_server.create_account(email))
    stolen = RawDevice.enrol(shared_server.url, shared_server.enrol(email))
    stolen.open_session()
    stolen.put(RawPack())
    with pytest.raises(Refused) as refused:
        owner.at_vault(
            "POST",
            "/confirmations",
            m.ErrorReply,
            m.AskConfirmation(action="revoke_device", subject=stolen.device),
        )
    assert (refused.value.status, refused.value.code) == (202, "needs_confirmation")
    request = refused.value.reply.request
    assert request is not None
    waiting = shared_server.admin("confirm")["requests"]
    assert request in {item["request"] for item in waiting}
    assert shared_server.confirm(request)["state"] == "done"
    for attempt in (lambda: stolen.put(RawPack()), stolen.open_session, stolen.keys):
        with pytest.raises(Refused) as out:
            attempt()
        assert (out.value.status, out.value.code) == (403, "not_granted")
    listed = owner.at_vault("GET", "/confirmations", m.ConfirmationList).requests
    assert [(item.request, item.state) for item in listed] == [(request, "done")]


def test_no_token_confirms(shared_server: Served, device: RawDevice) -> None:
    """There is no request that could: no such route, whatever the method."""
    for path in ("/confirmations/" + "ab" * 16, "/confirmations/" + "ab" * 16 + "/confirm", "/confirm"):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            status, content, _ = send(
                shared_server.url, method, f"/vaults/{device.vault}{path}", token=device.token, body=b"{}"
            )
            assert (status, _reply(content).error) == (404, "not_found")


def test_nothing_can_be_deleted(shared_server: Served, device: RawDevice) -> None:
    pack = RawPack()
    committed = device.back_up(pack)
    for path in (
        f"/packs/{pack.pack}", f"/snapshots/{committed.snapshot}", f"/slots/{'ab' * 16}", "/slot-list",
        "/kit", f"/devices/{device.device}", "", "/snapshots", "/events",
    ):  # fmt: skip
        status, _, _ = send(shared_server.url, "DELETE", f"/vaults/{device.vault}{path}", token=device.token)
        assert status in (400, 404), path
    assert [route.path for route in ROUTES if route.method == "DELETE"] == [
        "/vaults/{vault}/sessions/{session}"
    ]
    assert device.get(pack.pack)[1] == pack.content


def test_unknown_fields_are_refused(shared_server: Served, device: RawDevice) -> None:
    for extra in ({"colour": "blue"}, {"cursor": -1}, {"purpose": "spy"}, {"cursor": "1"}):
        body = json.dumps({"purpose": "backup", "client_version": "x", **extra}).encode()
        status, content, _ = send(
            shared_server.url, "POST", f"/vaults/{device.vault}/sessions", token=device.token, body=body
        )
        assert (status, _reply(content).error) == (400, "malformed"), extra


@pytest.mark.parametrize(
    "query", ["colour=blue", "limit=x", "limit=-1", "limit=1&limit=2", "limit=99999", "after=zz"]
)
def test_unknown_and_malformed_parameters_are_refused(
    shared_server: Served, device: RawDevice, query: str
) -> None:
    path = f"/vaults/{device.vault}/snapshots?{query}"
    status, content, _ = send(shared_server.url, "GET", path, token=device.token)
    assert (status, _reply(content).error) == (400, "malformed")


@pytest.mark.parametrize("vault", ["AB" * 16, "ab" * 15, "ab" * 15 + "zz", "ab" * 17, "%00" * 32])
def test_ids_have_one_form(shared_server: Served, device: RawDevice, vault: str) -> None:
    status, content, _ = send(shared_server.url, "GET", f"/vaults/{vault}/keys", token=device.token)
    assert (status, _reply(content).error) == (400, "malformed")


def test_large_bodies_are_refused_unread(shared_server: Served, device: RawDevice) -> None:
    body = b'{"purpose": "' + b"x" * (2 << 20) + b'"}'
    path = f"/vaults/{device.vault}/sessions"
    status, content, _ = send(shared_server.url, "POST", path, token=device.token, body=body)
    assert (status, _reply(content).error) == (400, "malformed")


def test_other_protocols_are_named(shared_server: Served) -> None:
    answer = _first_answer(shared_server.url, b"GET /dp/v2/server HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b" 400 " in answer
    assert b"unsupported_protocol" in answer


def test_guessing_a_kit_answers_429_with_retry_after(shared_server: Served, device: RawDevice) -> None:
    guess = m.KitLogin(vault=device.vault, credential=secrets.token_bytes(32))
    for _ in range(10):
        with pytest.raises(Refused) as refused:
            ask(shared_server.url, "POST", "/kit-session", m.KitToken, message=guess)
        assert refused.value.code == "not_granted"
    with pytest.raises(Refused) as refused:
        ask(shared_server.url, "POST", "/kit-session", m.KitToken, message=guess)
    assert (refused.value.status, refused.value.code) == (429, "too_many_requests")
    assert 0 < int(refused.value.headers["retry-after"]) <= 600


def test_every_error_has_a_rule() -> None:
    assert set(RULES) == set(ErrorCode)
    for code, rule in RULES.items():
        assert 200 <= rule.status < 600
        assert not (rule.retry and rule.status in (400, 401, 403, 404)), code


def test_a_kit_reads_a_vault_without_any_device(shared_server: Served, device: RawDevice) -> None:
    slot, credential = secrets.token_hex(16), secrets.token_bytes(32)
    wrapped = secrets.token_bytes(200)
    device.at_vault("PUT", f"/slots/{slot}", m.Stored, m.WrappedSlot(slot=slot, wrapped=wrapped))
    line = m.SlotInfo(
        slot=slot, kind="kit", label="kit", device=None, added_by=device.device, added_at=0.0,
        digest=hashlib.sha256(wrapped).digest(),
    )  # fmt: skip
    content = m.SlotList(vault=device.vault, number=1, previous=b"", slots=[line])
    signed = m.SignedSlotList(body=msgspec.msgpack.encode(content), mac=b"\0" * 32)
    device.at_vault(
        "PUT", "/slot-list", m.Stored, m.PutSlotList(expected_number=0, expected_hash=b"", signed=signed)
    )
    digest = hashlib.sha256(credential).digest()
    device.at_vault("PUT", "/kit", m.Stored, m.RegisterKit(slot=slot, credential_hash=digest))
    pack = RawPack()
    committed = device.back_up(pack)
    login = m.KitLogin(vault=device.vault, credential=credential)
    token = ask(shared_server.url, "POST", "/kit-session", m.KitToken, message=login).token
    kit = RawDevice(shared_server.url, "", token, vault=device.vault)
    assert [got.wrapped for got in kit.keys().slots] == [wrapped]
    kit.open_session(purpose="restore")
    assert [head.snapshot for head in kit.at_vault("GET", "/snapshots", m.SnapshotPage).snapshots] == [
        committed.snapshot
    ]
    assert kit.get(pack.pack)[1] == pack.content
    status, reply, _ = kit.try_put(RawPack())
    assert (status, _reply(reply).error) == (403, "not_granted")
    kinds = [event.kind for event in device.at_vault("GET", "/events", m.EventPage).events]
    assert "kit_used" in kinds
    assert "restore_opened" in kinds


def test_tls_self_serves_the_identity_that_codes_carry(tmp_path: Path) -> None:
    served = Served(tmp_path / "server", options=["--tls", "self"]).start()
    try:
        assert served.url.startswith("https://")
        code = EnrolmentCode.parse(served.create_account())
        assert code.pinned
        certificate = ssl.get_server_certificate(("127.0.0.1", served.port))
        context = ssl.create_default_context(cadata=certificate)
        with socket.create_connection(("127.0.0.1", served.port)) as plain:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
                connection.sendall(f"GET {m.PREFIX}/server HTTP/1.0\r\n\r\n".encode())
                answer = b"".join(iter(lambda: connection.recv(65536), b""))
        info = msgspec.json.decode(answer.partition(b"\r\n\r\n")[2], type=m.ServerInfo)
        assert server_key_hash(info.identity) == code.server_key_hash
        der = ssl.PEM_cert_to_DER_cert(certificate)
        assert info.identity in der, "the certificate is of the identity key"
        served.restart()
        assert ssl.get_server_certificate(("127.0.0.1", served.port)) == certificate, "kept for life"
    finally:
        served.close()
