"""One exchange after the other with a server that answers as scripted, over real sockets."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from muniment.client.transport.address import PlainHttp, ServerAddress
from muniment.client.transport.connections import Body, ConnectionFault, Connections, FileBody, Reply
from muniment.client.transport.rate import RateLimit
from muniment.client.transport.trust import Trust
from muniment.model.codes import server_key_hash
from muniment.model.errors import UntrustedServer, UsageError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Scripted:
    """Answers each request with the next of `answers`; an empty one closes the connection."""

    answers: list[bytes]
    requests: list[bytes] = field(default_factory=list)
    port: int = 0
    connections: int = 0


@contextmanager
def serving(script: Scripted, *, context: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    listener = socket.create_server(("127.0.0.1", 0))
    script.port = listener.getsockname()[1]
    over = threading.Event()

    def serve() -> None:
        listener.settimeout(0.1)
        while not over.is_set():
            try:
                sock, _ = listener.accept()
            except TimeoutError:
                continue
            script.connections += 1
            try:
                sock.settimeout(5)
                converse(context.wrap_socket(sock, server_side=True) if context else sock)
            except (OSError, IndexError):
                pass
            finally:
                sock.close()

    def converse(sock: socket.socket) -> None:
        while True:
            request = receive(sock)
            if not request:
                return
            script.requests.append(request)
            answer = script.answers.pop(0)
            if not answer:
                return
            sock.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield script
    finally:
        over.set()
        thread.join()
        listener.close()


def receive(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0].split(b":")[1]) if lengths else 0
    while len(body) < length:
        body += sock.recv(1 << 20)
    return head + b"\r\n\r\n" + body


def connections_to(
    script: Scripted, *, scheme: str = "http", trust: Trust | None = None, limit: RateLimit | None = None
) -> Connections:
    address = ServerAddress.parse(f"{scheme}://127.0.0.1:{script.port}", plain=PlainHttp.LOOPBACK_ONLY)
    return Connections(address, trust or Trust(), limit_up=limit, limit_down=limit)


def put(connections: Connections, body: Body = b"", *, most: int = 1000) -> Reply:
    return connections.exchange("PUT", "/x", headers={"X-Test": "1"}, body=body, most=most)


def test_connections_are_kept_and_bodies_arrive_whole(tmp_path: Path) -> None:
    content = bytes(range(256)) * 20_000
    path = tmp_path / "pack"
    path.write_bytes(content)
    with serving(Scripted([OK, OK, OK])) as script, path.open("rb") as file:
        connections = connections_to(script)
        assert put(connections, content).content == b"ok"
        assert put(connections, memoryview(content)).content == b"ok"
        assert put(connections, FileBody(file, len(content))).content == b"ok"
        connections.close()
    assert script.connections == 1
    assert all(request.endswith(content) for request in script.requests)


def test_limited_bodies_arrive_whole_too(tmp_path: Path) -> None:
    content = bytes(range(256)) * 400
    path = tmp_path / "pack"
    path.write_bytes(content)
    taken: list[float] = []
    limit = RateLimit(1_000_000, monotonic=lambda: 0.0, sleep=taken.append)
    with serving(Scripted([OK, OK])) as script, path.open("rb") as file:
        connections = connections_to(script, limit=limit)
        put(connections, content)
        put(connections, FileBody(file, len(content)))
        connections.close()
    assert all(request.endswith(content) for request in script.requests)
    assert max(taken) == pytest.approx(2 * len(content) / 1e6, rel=0.1)


def test_an_idle_connection_that_was_closed_is_no_fault_of_the_server() -> None:
    with serving(Scripted([OK + b"", b"", OK])) as script:
        connections = connections_to(script)
        put(connections)
        with pytest.raises(ConnectionFault) as caught:
            put(connections)
        assert caught.value.stale
        put(connections)
        connections.close()


def test_a_refusal_before_the_body_is_through_is_heard() -> None:
    refusal = b"HTTP/1.1 507 Full\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfull"
    listener = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        sock, _ = listener.accept()
        sock.recv(4096)
        sock.sendall(refusal)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 20):
            pass
        sock.close()

    thread = threading.Thread(target=refuse)
    thread.start()
    script = Scripted([], port=listener.getsockname()[1])
    reply = put(connections_to(script), bytes(8_000_000))
    thread.join()
    listener.close()
    assert (reply.status, reply.content) == (507, b"full")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"200\r\n" + b"x" * 512 + b"\r\n" * 1 + b"200\r\n" + b"x" * 512 + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"nonsense\r\n\r\n",
    ],
)
def test_replies_that_are_too_long_cut_short_or_nonsense_are_faults(answer: bytes) -> None:
    with serving(Scripted([answer, b""])) as script:
        connections = connections_to(script)
        with pytest.raises(ConnectionFault):
            put(connections, most=1000)
        connections.close()


# --- TLS


@dataclass(frozen=True)
class Identity:
    """A key and a certificate of it that nobody has signed."""

    certificate: Path
    key: Path
    hash: bytes

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


@pytest.fixture(scope="module")
def make_identity(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Identity]:
    def make() -> Identity:
        place = tmp_path_factory.mktemp("identity")
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somewhere else")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=900))
            .not_valid_after(now - timedelta(days=1))
            .sign(key, hashes.SHA256())
        )
        (place / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (place / "key.pem").write_bytes(private)
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return Identity(place / "cert.pem", place / "key.pem", server_key_hash(public))

    return make


def test_a_pinned_key_is_believed_whatever_its_certificate_says(
    make_identity: Callable[[], Identity],
) -> None:
    identity = make_identity()
    with serving(Scripted([OK]), context=identity.context()) as script:
        connections = connections_to(script, scheme="https", trust=Trust(pinned_key=identity.hash))
        assert put(connections).content == b"ok"
        connections.close()


def test_another_key_is_refused_before_a_byte_is_sent(make_identity: Callable[[], Identity]) -> None:
    with serving(Scripted([OK]), context=make_identity().context()) as script:
        connections = connections_to(script, scheme="https", trust=Trust(pinned_key=make_identity().hash))
        with pytest.raises(UntrustedServer):
            put(connections, b"token and all")
    assert script.requests == []


def test_an_unknown_authority_is_refused(make_identity: Callable[[], Identity]) -> None:
    with serving(Scripted([OK]), context=make_identity().context()) as script:
        with pytest.raises(UntrustedServer) as caught:
            put(connections_to(script, scheme="https"))
    assert "--ca-file" in caught.value.advice
    assert script.requests == []


def test_an_authority_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ca\.pem"):
        Trust(ca_file=str(tmp_path / "ca.pem")).context()


# --- proxies


def test_plain_requests_go_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Scripted([OK])) as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:pass%21@127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "")
        address = ServerAddress.parse("http://backup.invalid:8120/base", plain=PlainHttp.ANYWHERE)
        connections = Connections(address, Trust())
        assert put(connections).status == 200
        connections.close()
    head = proxy.requests[0]
    assert head.startswith(b"PUT http://backup.invalid:8120/base/x HTTP/1.1")
    assert b"Proxy-Authorization: Basic dXNlcjpwYXNzIQ==" in head


def test_tls_goes_through_a_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Scripted([b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"])) as proxy:
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "")
        address = ServerAddress.parse("https://backup.invalid", plain=PlainHttp.LOOPBACK_ONLY)
        with pytest.raises(ConnectionFault):
            put(Connections(address, Trust()))
    assert proxy.requests[0].startswith(b"CONNECT backup.invalid:443 HTTP/1.")


def test_exceptions_from_the_proxy_are_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Scripted([OK])) as script:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", "0.0.0.0")
        # A name that is no loopback one, and leads here all the same.
        address = ServerAddress.parse(f"http://0.0.0.0:{script.port}", plain=PlainHttp.ANYWHERE)
        connections = Connections(address, Trust())
        assert put(connections).status == 200
        connections.close()


def test_what_stays_on_this_machine_goes_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain HTTP is permitted to it because nobody is on the way; a proxy would be."""
    with serving(Scripted([OK])) as script:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", "")
        connections = connections_to(script)
        assert put(connections).status == 200
        connections.close()
