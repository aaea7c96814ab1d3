"""Connections of strangers: heads without end or that never come, and more of them than one needs."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from http.client import HTTPResponse

import httpx2
import pytest

from muniment.server.connection import MOST_HEAD, Crowd
from muniment.wire.messages import PREFIX
from tests.support.server import Served

ASKED = f"{PREFIX}/server"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("connections"), config={"stranger_stall": 1.0}).start()
    yield served
    served.close()


def connect(served: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", served.port), timeout=30)


def said_before_the_end(line: socket.socket) -> bytes:
    """What is answered until the other side closes."""
    answer = b""
    try:
        while got := line.recv(4096):
            answer += got
    except ConnectionError:
        pass
    return answer


def send_until_refused(line: socket.socket, start: bytes, more: bytes, *, most: int) -> int:
    """Bytes that were taken before the other side closed."""
    sent = 0
    try:
        line.sendall(start)
        while sent < most:
            line.sendall(more)
            sent += len(more)
    except (ConnectionError, TimeoutError):
        pass
    return sent


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (f"GET {ASKED} HTTP/1.1\r\nHost: x\r\nx: ".encode(), b"a" * 16384),
        (f"GET {ASKED} HTTP/1.1\r\nHost: x\r\n".encode(), b"x: y\r\n" * 4096),
        (b"GET /", b"a" * 16384),
        (
            f"POST {PREFIX}/enrol HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;".encode(),
            b"a" * 16384,
        ),
    ],
    ids=["one header", "many headers", "a path", "an extension of a chunk"],
)
def test_a_head_without_end_is_cut_off(served: Served, start: bytes, more: bytes) -> None:
    with connect(served) as line:
        taken = send_until_refused(line, start, more, most=64 << 20)
        # What the systems' buffers take counts as sent.
        assert MOST_HEAD - len(more) <= taken < 32 << 20
    assert httpx2.get(served.url + ASKED).status_code == 200


def test_a_long_head_is_told_so(served: Served) -> None:
    with connect(served) as line:
        line.sendall(f"GET {ASKED} HTTP/1.1\r\nx: ".encode() + b"a" * (MOST_HEAD + 1))
        assert said_before_the_end(line).startswith(b"HTTP/1.1 431 ")
    with connect(served) as line:
        head = f"GET {ASKED} HTTP/1.1\r\nHost: localhost\r\nconnection: close\r\nx: "
        line.sendall(head.encode() + b"a" * (MOST_HEAD // 2) + b"\r\n\r\n")
        assert said_before_the_end(line).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("begun", [b"", f"GET {ASKED} HTTP/1.1\r\n".encode()])
def test_a_head_that_does_not_come_is_not_waited_for(served: Served, begun: bytes) -> None:
    with connect(served) as line:
        line.sendall(begun)
        for _ in range(8):  # a line now and then buys no time
            time.sleep(0.2)
            try:
                line.sendall(b"x: y\r\n" if begun else b"")
            except ConnectionError:
                break
        assert said_before_the_end(line) == b""


def test_who_keeps_a_connection_may_be_silent_between_requests(served: Served) -> None:
    with connect(served) as line:
        for _ in range(2):
            line.sendall(f"GET {ASKED} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            answer = HTTPResponse(line)
            answer.begin()
            assert answer.status == 200
            assert answer.read()
            time.sleep(1.5)


def test_one_address_has_so_many_connections() -> None:
    crowd = Crowd(most_of_one=2, descriptors=100)
    assert [crowd.enter(who) for who in "aaab"] == [True, True, False, True]
    crowd.leave("a")
    assert crowd.enter("a")
    behind_proxy = Crowd(most_of_one=None, descriptors=100)
    assert all(behind_proxy.enter("proxy") for _ in range(50))
