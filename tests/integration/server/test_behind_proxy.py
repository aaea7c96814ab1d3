"""A server behind a proxy: attempts are counted by the person's network, where the proxy is trusted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.server import Served

MOST = 120
"""Of one network, `attempts.Tried.CHOICE`."""
OURS = {"Sec-Fetch-Site": "same-origin"}
ONE, OTHER = "198.51.100.7", "203.0.113.9"


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path / "server", options=["--trusted-proxy", "127.0.0.1"]).start()
    yield served
    served.close()


def agree(client: httpx2.Client, came: str) -> int:
    """The status for a browser without a cookie, of which the proxy says that it came from there."""
    client.cookies.clear()
    said = client.post("/cookies/choice", data={"answer": "accept"}, headers=OURS | {"X-Forwarded-For": came})
    return said.status_code


def test_one_person_s_attempts_shut_nobody_else_out(behind: Served) -> None:
    with httpx2.Client(base_url=behind.url, timeout=60) as client:
        statuses = [agree(client, f"{OTHER}, {ONE}") for _ in range(MOST)]
        assert set(statuses) == {302}
        assert agree(client, f"{OTHER}, {ONE}") == 429
        assert agree(client, f"10.0.0.1, {ONE}") == 429, "what they write before it changes nothing"
        assert agree(client, f"{ONE}, {OTHER}") == 302


def test_from_others_the_header_is_not_read(server: Served) -> None:
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        statuses = [agree(client, f"198.18.{number}.1") for number in range(MOST)]
        assert set(statuses) == {302}
        assert agree(client, ONE) == 429
