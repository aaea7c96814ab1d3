"""Timed work of real servers: one of them at a time, taken up where one was killed, shown to the operator."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.databases import change, environment_for, rows
from tests.support.server import Served, wait_until
from tests.support.slow_mail import SlowMailServer

QUICK = {"job_poll": 0.1, "job_lease": 4.0}


@pytest.fixture
def mails() -> Iterator[SlowMailServer]:
    made = SlowMailServer()
    yield made
    made.close()


def served(data: Path, mails: SlowMailServer, *, database: Path | None = None) -> Served:
    made = Served(data, config=dict(QUICK))
    made.environment = {"MUNIMENT_SMTP_URL": mails.url, **environment_for(database or data)}
    return made


def queue(database: Path, to: str) -> None:
    """A mail that is due now."""
    now = time.strftime("%Y-%m-%d %H:%M:%S+00:00", time.gmtime())
    columns = '"to", message, message_class, subject, text, unsubscribe, queued_at, tries, next_at'
    values = f"'{to}', 'RequestDone', 'service', 's', 't', '', '{now}', 0, '{now}'"
    change(database, f"INSERT INTO mail_mail ({columns}) VALUES ({values})")


def holder(database: Path) -> str:
    return str(rows(database, "SELECT holder FROM jobs_job WHERE name = 'mail'")[0][0])


@pytest.mark.postgresql
def test_two_servers_on_one_database_send_each_mail_once(tmp_path: Path, mails: SlowMailServer) -> None:
    first = served(tmp_path / "first", mails).start()
    try:
        shutil.copytree(first.data, tmp_path / "second")  # the same keys
        second = served(tmp_path / "second", mails, database=first.data).start()
        try:
            queue(first.data, "owner0@example.org")
            wait_until(lambda: mails.waiting)
            time.sleep(2 * QUICK["job_lease"])  # a lease passes twice: its holder lives
            assert mails.waiting == 1
            mails.open.set()
            for number in range(1, 6):
                queue(first.data, f"owner{number}@example.org")
                time.sleep(QUICK["job_poll"])
            wait_until(lambda: not rows(first.data, "SELECT 1 FROM mail_mail"))
            assert sorted(mails.taken) == [f"owner{number}@example.org" for number in range(6)]
        finally:
            second.close()
    finally:
        first.close()


def test_what_a_killed_server_was_doing_is_taken_up_after_its_lease(
    tmp_path: Path, mails: SlowMailServer
) -> None:
    server = served(tmp_path / "server", mails).start()
    try:
        queue(server.data, "owner@example.org")
        wait_until(lambda: mails.waiting)
        killed = holder(server.data)
        assert len(killed) == 32
        server.kill()
        server.start()
        started = time.monotonic()
        wait_until(lambda: mails.waiting == 2)
        # Its lease counts from when it is first looked at, which is shortly before it says that it listens.
        assert time.monotonic() - started >= QUICK["job_lease"] / 2
        assert holder(server.data) not in ("", killed)
        mails.open.set()
        wait_until(lambda: holder(server.data) == "")
        assert not rows(server.data, "SELECT 1 FROM mail_mail")
        assert "taken over" in server.log.read_text()
    finally:
        server.close()


def test_a_server_that_stops_waits_for_no_long_work(tmp_path: Path, mails: SlowMailServer) -> None:
    server = served(tmp_path / "server", mails).start()
    try:
        queue(server.data, "owner@example.org")
        wait_until(lambda: mails.waiting)
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 10
    finally:
        server.close()


def test_the_operator_sees_what_is_late_or_fails(tmp_path: Path) -> None:
    server = Served(tmp_path / "server", config={"job_poll": 0.1}).start()
    try:
        wait_until(lambda: rows(server.data, "SELECT 1 FROM jobs_job"))
        shown = server.admin("jobs")["jobs"]
        assert {"mail", "requests", "retention", "vaults"} <= {row["job"] for row in shown}
        assert {row["state"] for row in shown} == {"waiting"}
        assert health(server) == {"ok": True, "database": True, "store": True, "jobs": True}
        server.stop()
        failed = "failures = 2, error = 'OSError', due_at = '2999-01-01', took_ms = 0"
        change(server.data, f"UPDATE jobs_job SET {failed} WHERE name = 'gags'")
        failing = server.try_admin("jobs")
        assert failing.returncode == 1
        row = next(row for row in json.loads(failing.stdout)["jobs"] if row["job"] == "gags")
        assert (row["state"], row["failures"], row["error"], row["took"]) == ("failing", 2, "OSError", 0)
        long_ago = "well_at = '2026-01-01', due_at = '2026-01-01'"
        change(server.data, f"UPDATE jobs_job SET {long_ago} WHERE name = 'vaults'")
        assert server.try_admin("jobs").returncode == 1
        told = subprocess.run(
            [sys.executable, "-m", "muniment.main.admin", "jobs", "--data", str(server.data)],
            capture_output=True, text=True, timeout=120, env={**os.environ, **environment_for(server.data)},
        )  # fmt: skip
        assert "vaults      overdue" in told.stdout
        assert "OSError, 2 times" in told.stdout
        slow = Served(server.data, config={"job_poll": 3600}).start()
        try:
            assert health(slow) == {"ok": True, "database": True, "store": True, "jobs": False}
        finally:
            slow.close()
        server.start()
        wait_until(lambda: health(server)["jobs"])
        wait_until(lambda: server.try_admin("jobs").returncode == 0)
    finally:
        server.close()


def health(server: Served) -> dict[str, bool]:
    with urllib.request.urlopen(server.url + "/healthz") as answer:
        said: dict[str, bool] = json.load(answer)
    return said
