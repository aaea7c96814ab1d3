"""One person with a token in every column that tells about them: in life only where declared, then nowhere.

They sign up, fill in everything, back up from a device, ask and object; then they delete their account. What
the operator holds is searched before and after: every table, every file with its name, and the log.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import environment_for
from tests.support.nursery import REPOSITORY
from tests.support.raw_device import RawDevice, RawPack
from tests.support.server import Served
from tests.support.visitor import PASSWORD, Visitor, link_in

EMAIL = "canary-quokka-7711@example.org"
LIVED = {
    "address": EMAIL, "password": PASSWORD, "name": "Canary Numbat 7712", "user_name": "canary-bilby-7713",
    "phone": "+353 1 7715 7715", "city": "Canary-Kultarr 7718", "postcode": "CNRY 7719",
    "device": "canary-mulgara-7720", "words": "canary-quoll-7721", "agent": "Canary7722",
}  # fmt: skip
"""What goes in over HTTP, and so can leak on its way."""
NEVER_HELD = ("password", "agent")
"""Not even in life: a hash of the one, and of the other which browser it is."""


def run(served: Served, command: str, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.canary", command, *arguments, "--data", str(served.data)],
        capture_output=True, text=True, timeout=170, cwd=REPOSITORY,
        env={**os.environ, **environment_for(served.data), "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout else None


def guises_of(token: str) -> Iterator[bytes]:
    """The forms in which it could be lying about."""
    raw = token.encode()
    yield from (raw, raw.hex().encode(), base64.b64encode(raw).rstrip(b"=")[:-1])
    if len(token) >= 32 and set(token) <= set("0123456789abcdef"):
        binary = bytes.fromhex(token)
        yield binary
        yield base64.b64encode(binary).rstrip(b"=")[:-1]
        if len(binary) == 16:
            yield "-".join((token[:8], token[8:12], token[12:16], token[16:20], token[20:])).encode()


def files_of(served: Served) -> Iterator[tuple[str, bytes]]:
    for path in sorted(served.data.rglob("*")):
        place = str(path.relative_to(served.data))
        yield f"name of {place}", os.fsencode(place)
        if path.is_file():
            yield place, path.read_bytes()
    yield "log", served.log.read_bytes()


def rows_of(served: Served) -> Iterator[tuple[str, bytes]]:
    for table, row in run(served, "rows"):
        for column, value in row.items():
            yield f"{table}.{column.removesuffix('_id')}", json.dumps(value, ensure_ascii=False).encode()


def found_in(places: Iterator[tuple[str, bytes]], tokens: dict[str, str]) -> set[tuple[str, str]]:
    """(which token, where) of everything found."""
    wanted = [(name, guise) for name, token in tokens.items() for guise in guises_of(token)]
    return {(name, place) for place, content in places for name, guise in wanted if guise in content}


@dataclass
class Life:
    served: Served
    tokens: dict[str, str]
    """By column where they were planted; what came in over HTTP by what it is."""
    personal: set[str]
    """The columns that are declared personal."""
    in_files: set[tuple[str, str]]
    in_rows: set[tuple[str, str]]
    proofs: dict[str, bytes]
    """What strangers fetch of the ledger afterwards, a checkpoint of before, and the receipt."""
    unfinished: list[Any]
    """Erasures that should be done by then."""


def live(served: Served) -> Visitor:
    """Everything that a person does here."""
    visitor = Visitor(served, **{"user-agent": f"Mozilla/5.0 (X11; Linux) {LIVED['agent']}"})
    assert visitor.sign_up(EMAIL).status_code == 302
    page = visitor.get("/profile/details")
    details = {name: LIVED[name] for name in ("name", "user_name", "phone", "city", "postcode")}
    assert visitor.submit(page, **details).status_code == 302
    visitor.submit(visitor.get("/requests"), "/requests/object", purpose="security")
    code = served.admin("enrol", EMAIL, "--new-vault")["code"]
    device = RawDevice.enrol(served.url, code, name=LIVED["device"])
    device.open_session()
    device.back_up(RawPack(), RawPack(kind=2))
    stranger = Visitor(served)
    asked = stranger.submit(
        stranger.get("/privacy/request"), email=EMAIL, kind="public_removal", words=LIVED["words"]
    )
    assert asked.status_code == 200
    link = link_in(served, EMAIL, "Was it you who asked?")
    assert stranger.submit(stranger.get(link), kind="public_removal").status_code == 200
    Visitor(served).sign_in(EMAIL, "not the password 7799")
    visitor.add_app()
    assert Visitor(served).sign_in(EMAIL).headers["location"] == "/accounts/login/second"  # and no further
    Visitor(served).get(f"/{EMAIL}?who={EMAIL}")
    return visitor


def erase(served: Served, visitor: Visitor) -> str:
    """Ask for it, and let the three days pass; returns the link of the receipt."""
    visitor.submit(visitor.get("/profile/delete"))
    page = visitor.get("/requests").text
    return str(visitor.get(page.split('href="')[1:][_receipt(page)].split('"')[0]).headers["location"])


def _receipt(page: str) -> int:
    parts = page.split('href="')[1:]
    return next(n for n, part in enumerate(parts) if part.split('"')[0].endswith("/receipt"))


def let_days_pass(served: Served, *, days: int) -> None:
    table, by = "privacy_requests_request", timedelta(days=days)
    with sqlite3.connect(served.data / "muniment.sqlite3", timeout=30) as rows:
        for key, runs_at in rows.execute(f"select id, runs_at from {table} where outcome = ''").fetchall():
            earlier = runs_at and str(datetime.fromisoformat(runs_at) - by)
            rows.execute(
                f"update {table} set received = received - ?1, due = due - ?1, runs_at = ?2 where id = ?3",
                (int(by.total_seconds()), earlier, key),
            )


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """The person's whole life, and after it; the server is stopped."""
    served = Served(tmp_path_factory.mktemp("canary") / "server").start()
    try:
        visitor = live(served)
        receipt = erase(served, visitor)
        files_before, rows_before = found_in(files_of(served), LIVED), found_in(rows_of(served), LIVED)
        planted = run(served, "plant", EMAIL)
        tokens = {**planted, **{name: LIVED[name] for name in LIVED if name not in NEVER_HELD}}
        data_map = visitor.get("/privacy/data-map.json").json()
        in_files, in_rows = found_in(files_of(served), tokens), found_in(rows_of(served), tokens)
        before = visitor.get("/ledger/checkpoint").content
        let_days_pass(served, days=4)
        asked = served.admin("requests", "--run")["requests"]
        proofs = {
            "receipt": Visitor(served).get(f"{receipt}.json").content,
            "checkpoint": Visitor(served).get("/ledger/checkpoint").content,
            "entries": Visitor(served).get("/ledger/entries").content,
            "before": before,
        }
        run(served, "deliver")
        served.stop()
        yield Life(
            served,
            tokens,
            personal_columns(data_map),
            files_before | in_files,
            rows_before | in_rows,
            proofs,
            [one for one in asked if one["kind"] == "erase"],
        )
    finally:
        served.close()


def personal_columns(data_map: Any) -> set[str]:
    return {
        f"{one['table']}.{one['column'].removesuffix('_id')}"
        for one in data_map["columns"]
        if one["personal"]
    }


def test_in_life_it_is_where_the_data_map_says_and_nowhere_else(life: Life) -> None:
    assert {(name, place) for name, place in life.in_rows if place not in life.personal} == set()
    kinds = {place.removeprefix("name of ").split("/")[0] for _, place in life.in_files}
    assert kinds <= {"muniment.sqlite3", "muniment.sqlite3-journal", "objects"}
    assert not [found for found in life.in_files | life.in_rows if found[0] in NEVER_HELD]


def test_every_column_has_a_token_and_every_token_was_seen(life: Life) -> None:
    """The search after death means something only if each was found in life."""
    planted = {name for name in life.tokens if "." in name}
    assert len(planted) > 60
    assert {(name, name) for name in planted} - life.in_rows == set()
    lived = set(LIVED) - set(NEVER_HELD)
    assert lived <= {name for name, _ in life.in_rows}
    assert ("address", "accounts.WebSession.session_data") in life.in_rows  # of who stopped half-way


@pytest.mark.clause("P16")
@pytest.mark.clause("P46")
def test_after_the_erasure_nothing_is_found(life: Life) -> None:
    assert life.unfinished == []
    assert found_in(rows_of(life.served), life.tokens) == set()
    assert found_in(files_of(life.served), life.tokens) == set()


def test_the_ledger_still_verifies(life: Life, tmp_path: Path) -> None:
    """The program that ships for it recomputes the tree from what strangers fetch: leaves stayed."""
    for name, content in life.proofs.items():
        (tmp_path / name).write_bytes(content)
    files = [str(tmp_path / name) for name in life.proofs]
    checked = subprocess.run(
        [sys.executable, "-m", "muniment.main.ledger_verify", *files],
        capture_output=True, text=True, timeout=120, cwd=REPOSITORY,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert found_in(iter(life.proofs.items()), life.tokens) == set()


@pytest.mark.parametrize("way", ["raw", "hex", "base64", "in a name", "in a table"])
def test_a_planted_leak_is_found(life: Life, way: str) -> None:
    """A search that cannot fail proves nothing."""
    address = EMAIL.encode()
    content = {"raw": address, "hex": address.hex().encode(), "base64": base64.b64encode(address)}
    path = life.served.data / (f"{EMAIL}.cache" if way == "in a name" else "some.cache")
    place = f"name of {path.name}" if way == "in a name" else path.name
    if way == "in a table":
        place = "muniment.sqlite3"
        write(life, "update django_content_type set model = ? where id = 1", EMAIL)
    else:
        path.write_bytes(content.get(way, b""))
    try:
        assert ("address", place) in found_in(files_of(life.served), life.tokens)
    finally:
        path.unlink(missing_ok=True)
        write(life, "update django_content_type set model = 'x' where model = ?", EMAIL)


def write(life: Life, statement: str, *values: str) -> None:
    with closing(sqlite3.connect(life.served.data / "muniment.sqlite3", timeout=30)) as rows:
        rows.execute("pragma secure_delete=on")
        rows.execute(statement, values)
        rows.commit()
