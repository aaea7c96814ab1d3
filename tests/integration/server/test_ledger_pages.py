"""The ledger as strangers reach it: over HTTP from a real server, checked by the program that ships."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.support.databases import put_back, rows, save
from tests.support.server import Served

VERIFY = [sys.executable, "-m", "muniment.main.ledger_verify"]
OURS = {"Sec-Fetch-Site": "same-origin"}


def decide(server: Served, times: int) -> None:
    """So many browsers say yes: each leaves one entry for each purpose it was asked about."""
    for _ in range(times):
        httpx2.post(f"{server.url}/cookies/choice", data={"answer": "accept"}, headers=OURS)


def fetch(server: Served, path: str, into: Path) -> Path:
    answer = httpx2.get(server.url + path)
    assert answer.status_code == 200, answer.text
    into.write_bytes(answer.content)
    return into


def verify(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*VERIFY, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


def test_what_strangers_fetch_is_proven_and_one_altered_byte_is_not(server: Served, tmp_path: Path) -> None:
    decide(server, 3)
    key = httpx2.get(f"{server.url}/ledger/key").text.strip()
    old = fetch(server, "/ledger/checkpoint", tmp_path / "old")
    size = int(old.read_text().splitlines()[1])
    assert size >= 3
    decide(server, 2)
    new = fetch(server, "/ledger/checkpoint", tmp_path / "new")
    export = fetch(server, "/ledger/entries", tmp_path / "export")
    growth = fetch(server, f"/ledger/proof?since={size}", tmp_path / "growth")
    done = verify("--key", key, old, new, export, growth)
    assert done.returncode == 0, done.stderr
    assert f"begins with the {size} of the older checkpoint" in done.stdout

    for name in ("old", "new", "export", "growth"):
        good = (tmp_path / name).read_bytes()
        altered = good.replace(b"P51", b"P50", 1) if name == "export" else _other_digit(good, name)
        (tmp_path / name).write_bytes(altered)
        assert verify("--key", key, old, new, export, growth).returncode == 1, name
        (tmp_path / name).write_bytes(good)
    assert verify("--key", key, export, old, growth).returncode == 0


def _other_digit(content: bytes, name: str) -> bytes:
    """One hexadecimal or base64 digit of a proof or signature replaced."""
    if name == "growth":
        document = json.loads(content)
        step = document["proof"][0]
        document["proof"][0] = ("0" if step[0] != "0" else "1") + step[1:]
        return json.dumps(document).encode()
    at = len(content) - 20
    return content[:at] + (b"A" if content[at : at + 1] != b"A" else b"B") + content[at + 1 :]


def test_pages_of_the_export_join_to_one(server: Served, tmp_path: Path) -> None:
    decide(server, 4)
    size = int(httpx2.get(f"{server.url}/ledger/checkpoint").text.splitlines()[1])
    joined = b"".join(
        httpx2.get(f"{server.url}/ledger/entries?start={start}&count=3").content
        for start in range(0, size, 3)
    )
    (tmp_path / "joined").write_bytes(joined)
    done = verify(tmp_path / "joined")
    assert done.returncode == 0, done.stderr
    assert f"{size} entries under" in done.stdout


def test_another_servers_key_proves_nothing(server: Served, tmp_path: Path) -> None:
    decide(server, 1)
    other = Served(tmp_path / "other").start()
    try:
        key = httpx2.get(f"{other.url}/ledger/key").text.strip()
    finally:
        other.kill()
    export = fetch(server, "/ledger/entries", tmp_path / "export")
    assert verify("--key", key, export).returncode == 1
    assert verify(export).returncode == 0


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ledger/proof", 400),
        ("/ledger/proof?index=x", 400),
        ("/ledger/proof?index=0&since=1", 400),
        ("/ledger/proof?index=999999", 404),
        ("/ledger/proof?since=0", 404),
        ("/ledger/proof?since=999999999999999999", 404),
        ("/ledger/checkpoint?size=999", 404),
        ("/ledger/checkpoint?size=-1", 400),
        ("/ledger/entries?start=-1", 400),
        ("/ledger/entries?start=99999999999999999999", 400),
    ],
)
def test_what_is_not_there_is_said_plainly(shared_server: Served, path: str, status: int) -> None:
    assert httpx2.get(shared_server.url + path).status_code == status


def test_many_at_once_leave_a_ledger_without_gaps(server: Served, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: decide(server, 3), range(8)))
    export = fetch(server, "/ledger/entries", tmp_path / "export")
    indices = [line["index"] for line in map(json.loads, export.read_text().splitlines()) if "index" in line]
    assert indices == list(range(len(indices)))
    assert len(indices) >= 24
    assert verify(export).returncode == 0


def test_a_restart_keeps_the_key_and_the_ledger(server: Served, tmp_path: Path) -> None:
    decide(server, 2)
    old = fetch(server, "/ledger/checkpoint", tmp_path / "old")
    server.kill()
    server.start()
    decide(server, 1)
    export = fetch(server, "/ledger/entries", tmp_path / "export")
    assert verify(old, export).returncode == 0
    assert (server.data / "ledger.key").stat().st_mode & 0o777 == 0o600


def test_a_database_put_back_is_served_once_the_operator_said_so(server: Served, tmp_path: Path) -> None:
    """And then whoever was erased since is erased again before anybody is served."""
    server.create_account("child@example.org")
    server.stop()
    save(server.data)
    server.admin("forget-child", "child@example.org")
    server.start()
    lost = fetch(server, "/ledger/checkpoint", tmp_path / "lost")
    server.stop()
    put_back(server.data)

    with pytest.raises(AssertionError, match="were signed"):
        server.start()
    refused = server.try_admin("create-account", "another@example.org")
    assert refused.returncode == 5
    assert "admin ledger --database-restored" in refused.stderr
    assert rows(server.data, "SELECT email FROM accounts_account") == [("child@example.org",)]

    told = server.admin("ledger", "--database-restored")
    assert told["altered"] == []
    signed = int(lost.read_text().splitlines()[1])
    assert [one["signed"] for one in told["restored"]] == [signed]
    server.start()
    in_use = server.try_admin("ledger", "--database-restored")
    assert (in_use.returncode, "stop the server first" in in_use.stderr) == (1, True)
    assert not rows(server.data, "SELECT email FROM accounts_account")
    kinds = [kind for (kind,) in rows(server.data, "SELECT kind FROM privacy_ledger_leafrow ORDER BY number")]
    assert kinds[-2:] == ["database_restored", "erasure_replayed"]
    assert "Database put back" in httpx2.get(f"{server.url}/ledger").text
    export = fetch(server, "/ledger/entries", tmp_path / "export")
    assert verify(export).returncode == 0
    assert verify(export, lost).returncode == 1, "who holds the lost checkpoint sees that it is not continued"


def test_the_verifier_runs_where_there_is_no_server() -> None:
    program = "import sys, muniment.main.ledger_verify; print(*sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = {name.partition(".")[0] for name in told.stdout.split()}
    assert "cryptography" in loaded
    assert not loaded & {"django", "starlette", "uvicorn"}


def test_what_is_no_file_of_ours_is_neither_proven_nor_a_crash(tmp_path: Path) -> None:
    assert verify(tmp_path / "missing").returncode == 2
    for number, content in enumerate(
        (b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"format": "muniment-ledger-bundle-1"}')
    ):
        path = tmp_path / str(number)
        path.write_bytes(content)
        done = verify(path)
        assert done.returncode in (1, 2), content
        assert "Traceback" not in done.stderr
