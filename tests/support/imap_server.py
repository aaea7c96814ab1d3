"""An IMAP server (RFC 9051, as much of it as a reader of mail uses) on loopback, over TLS.

    with ImapServer(folder) as server:
        message = server.deliver(b"From: …")
        … server.url …, server.certificate
        assert message.flags == {"\\\\Seen"}

Its certificate is its own; programs that are to trust it get `SSL_CERT_FILE`.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

USER, PASSWORD = "privacy@backup.example.org", 'a "quoted" \\ word'


@dataclass
class Message:
    content: bytes
    flags: set[str] = field(default_factory=set)


class ImapServer:
    """`dies_at` names a command at which the connection breaks; `heard` is every command that came."""

    def __init__(self, folder: Path) -> None:
        self.messages: list[Message] = []
        self.heard: list[str] = []
        self.dies_at = ""
        self.certificate = folder / "imap.pem"
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _make_certificate(self.certificate)
        self._context.load_cert_chain(self.certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def url(self, *, password_file: Path) -> str:
        return f"imaps://{USER.replace('@', '%40')}@127.0.0.1:{self.port}/INBOX?password_file={password_file}"

    def deliver(self, content: bytes) -> Message:
        self.messages.append(Message(content))
        return self.messages[-1]

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with suppress(OSError), self._context.wrap_socket(peer, server_side=True) as secured:
                self._talk(secured.makefile("rwb"))

    def _talk(self, line: Any) -> None:
        def say(text: bytes) -> None:
            line.write(text + b"\r\n")
            line.flush()

        say(b"* OK here")
        for raw in line:
            tag, _, command = raw.decode("ascii").strip().partition(" ")
            word = re.sub(r"^UID ", "", command).split(" ")[0].upper()
            self.heard.append(word)
            if word == self.dies_at:
                return
            status = b"OK"
            for said in self._answers(word, command):
                if said == b"NO":
                    status = said
                else:
                    say(said)
            say(tag.encode() + b" " + status + b" done")
            if word == "LOGOUT":
                return

    def _answers(self, word: str, command: str) -> Iterator[bytes]:
        match word:
            case "CAPABILITY":
                yield b"* CAPABILITY IMAP4rev1"
            case "LOGIN":
                escaped = PASSWORD.replace("\\", "\\\\").replace('"', '\\"')
                if command != f'LOGIN "{USER}" "{escaped}"':
                    yield b"NO"
            case "SELECT":
                yield f"* {len(self.messages)} EXISTS".encode() if command.endswith('"INBOX"') else b"NO"
            case "SEARCH":
                assert command == "UID SEARCH UNSEEN UNFLAGGED", command
                marks = {"\\Seen", "\\Flagged"}
                unread = [str(n) for n, one in enumerate(self.messages, 1) if not one.flags & marks]
                yield f"* SEARCH {' '.join(unread)}".encode()
            case "FETCH":
                asked = re.fullmatch(r"UID FETCH (\d+) \(BODY\.PEEK\[\]<0\.(\d+)>\)", command)
                assert asked is not None, command
                content = self.messages[int(asked[1]) - 1].content[: int(asked[2])]
                yield f"* {asked[1]} FETCH (UID {asked[1]} BODY[]<0> {{{len(content)}}}".encode()
                yield content + b")"
            case "STORE":
                asked = re.fullmatch(r"UID STORE (\d+) \+FLAGS \((.+)\)", command)
                assert asked is not None, command
                self.messages[int(asked[1]) - 1].flags |= set(asked[2].split())
            case "LOGOUT":
                yield b"* BYE"
            case _:
                yield b"NO"


def _make_certificate(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(secret + made.public_bytes(Encoding.PEM))
