"""Bad input and faults: one clear line, advice, the documented exit code, and nothing lost."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.machine import Machine
from tests.support.server import Served, server, shared_server, wait_until

__all__ = ["server", "shared_server"]


@pytest.fixture
def machine(shared_server: Served, tmp_path: Path) -> Machine:
    code = shared_server.create_account(f"{os.urandom(6).hex()}@trouble.org")
    return Machine(tmp_path / "home").connect(shared_server.url, code)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    top.mkdir()
    (top / "file").write_bytes(os.urandom(300_000))
    return top


def test_an_error_is_one_object_with_its_exit_code(machine: Machine) -> None:
    ran = machine.run("restore", "latest", "--target", "/tmp/never")
    assert ran.result == {
        "error": "UnknownSnapshot",
        "message": ran.result["message"],
        "advice": ran.result["advice"],
        "exit": ran.code,
    }
    assert ran.code == 1


@pytest.mark.parametrize(
    "words",
    [
        ["no-such-command"],
        ["backup", "--no-such-option"],
        ["restore", "latest"],
        ["restore", "latest", "--target", "x", "--overwrite", "sometimes"],
        ["backup", "/no/such/path"],
        ["backup", ""],
        ["sets", "add", "nothing", ""],
        ["restore", "latest", "--target", ""],
        ["export", ""],
        ["--limit-up", "0", "status"],
        ["connect", "http://127.0.0.1:1", "--code", "MUNIC1-WRONG"],
        ["connect", "ftp://x", "--code", "x"],
        ["schedule", "on", "--set", "unknown"],
        ["sets", "exclude", "unknown", "*.o"],
    ],
)
def test_usage_is_exit_code_2(machine: Machine, words: list[str]) -> None:
    ran = machine.run(*words)
    assert ran.code == 2, ran.said
    assert ran.result["exit"] == 2


def test_a_machine_that_is_not_connected_is_told_how(tmp_path: Path) -> None:
    ran = Machine(tmp_path / "home").run("backup", tmp_path)
    assert ran.code == 2
    assert "muniment connect" in ran.result["advice"]


def test_a_server_that_restarts_during_the_run_is_waited_for(server: Served, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "home").connect(server.url, server.create_account())
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(8):
        (tree / f"file {number}").write_bytes(os.urandom(3_000_000))
    process = machine.begin("backup", tree, "--limit-up", "8192", more={"MUNIMENT_PATIENCE": "60"})
    wait_until(lambda: list((machine.state() / "spool").glob("*/*.pack")))
    with server.absent(how=signal.SIGKILL):
        time.sleep(0.3)
    assert machine.end(process).code == 0
    assert machine.done("verify", "--read-data")["errors"] == 0


def test_an_allowance_that_is_used_up(tmp_path: Path, tree: Path) -> None:
    served = Served(tmp_path / "small", options=["--allowance", "100000"]).start()
    try:
        machine = Machine(tmp_path / "home").connect(served.url, served.create_account())
        ran = machine.run("backup", tree)
        assert (ran.code, ran.result["error"]) == (4, "VaultFull")
        assert "allowance" in ran.result["advice"]
    finally:
        served.close()


def test_a_code_taken_to_another_server_is_not_spent_there(
    shared_server: Served, server: Served, tmp_path: Path
) -> None:
    code = shared_server.create_account("elsewhere@trouble.org")
    machine = Machine(tmp_path / "home")
    ran = machine.run("connect", server.url, "--code", code)
    assert (ran.code, ran.result["error"]) == (5, "UntrustedServer")
    assert machine.connect(shared_server.url, code).vault


def test_tls_self_is_pinned_by_code_and_kit(tmp_path: Path, tree: Path) -> None:
    served = Served(tmp_path / "tls", options=["--tls", "self"]).start()
    try:
        assert served.url.startswith("https://")
        code = served.admin("create-account", "tls@trouble.org", "--tls", "self")["code"]
        machine = Machine(tmp_path / "home").connect(served.url, code)
        machine.done("backup", tree)
        bare = Machine(tmp_path / "bare", environment={"MUNIMENT_RECOVERY_KIT": machine.kit})
        assert len(bare.done("snapshots")) == 1
        other = Served(tmp_path / "other", options=["--tls", "self"]).start()
        try:
            ran = machine.run("backup", "--server", other.url)
        finally:
            other.close()
        assert (ran.code, ran.result["error"]) == (5, "UntrustedServer")
    finally:
        served.close()


def test_a_wrong_clock_is_told(machine: Machine, tree: Path, tmp_path: Path) -> None:
    program = (
        "import sys, time; now = time.time_ns; time.time_ns = lambda: now() - 3 * 86_400 * 10**9;"
        "from muniment.main.cli import run; run(sys.argv[1:])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, "--json", "backup", str(tree)],
        capture_output=True,
        text=True,
        env=machine.surroundings(),
    )
    assert ran.returncode == 0
    assert "clock is 3.0 days behind" in ran.stderr
    assert "clock" in json.loads(ran.stdout.splitlines()[-1])["warnings"][0]


def test_a_target_that_cannot_be_written(machine: Machine, tree: Path, tmp_path: Path) -> None:
    machine.done("backup", tree)
    (tmp_path / "file").write_text("in the way")
    ran = machine.run("restore", "latest", "--target", tmp_path / "file" / "below")
    assert ran.code == 1
    assert ran.result["error"] == "TargetFull"


def test_lost_device_secrets_are_told_with_what_to_do(machine: Machine, tree: Path) -> None:
    next((machine.home / "credentials").iterdir()).unlink()
    ran = machine.run("backup", tree)
    assert ran.code == 1
    assert "enrol" in ran.result["advice"]


def test_configuration_that_does_not_parse(machine: Machine) -> None:
    (machine.home / "config.toml").write_text("vaults = [")
    ran = machine.run("status")
    assert ran.code == 2
    assert "config.toml" in ran.result["message"]


# --- for people


def plain(machine: Machine, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        machine.command(*words), capture_output=True, text=True, env=machine.surroundings(), timeout=60
    )


def test_people_get_a_verdict_first(machine: Machine, tree: Path) -> None:
    empty = plain(machine, "verify")
    assert (empty.returncode, empty.stdout) == (0, "The vault has no snapshot yet.\n")
    ran = plain(machine, "backup", str(tree))
    assert ran.returncode == 0
    assert ran.stdout.splitlines()[0] == "Everything is backed up."
    status = plain(machine, "status")
    assert status.stdout.splitlines()[0] == "Everything is backed up, by hand only."
    assert plain(machine, "status", "--check").returncode == 0
    unscheduled = plain(machine, "schedule", "off")
    assert (unscheduled.returncode, "was not scheduled" in unscheduled.stdout) == (0, True)
    wrong = plain(machine, "restore", "ffffff", "--target", "x")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("muniment: ")
    assert "\x1b" not in ran.stdout + ran.stderr + wrong.stderr


def test_a_terminal_gets_one_live_line(machine: Machine, tree: Path) -> None:
    (tree / "large").write_bytes(os.urandom(3_000_000))
    command = machine.command("backup", str(tree), "--limit-up", "2048")
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=follower,
        env=machine.surroundings({"TERM": "xterm"}),
        text=True,
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            more = os.read(leader, 65536)
        except OSError:
            break
        if not more:
            break
        shown += more
    out, _ = process.communicate(timeout=60)
    os.close(leader)
    assert process.returncode == 0
    assert b"\r\x1b[2KBacking up: " in shown
    assert shown.endswith(b"\r\x1b[2K")
    assert out.startswith("Everything is backed up.")


def test_help_lists_every_command_and_is_quick() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "muniment.main.cli", "--help"], capture_output=True, text=True
    )
    for command in ["connect", "backup", "restore", "snapshots", "keys", "export", "serve", "admin"]:
        assert re.search(rf"^  {command} ", done.stdout, re.MULTILINE)
    loaded = (
        "import sys; from muniment.main.cli import run\n"
        "try: run(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'django', 'rich', 'msgspec', 'cryptography', 'sqlite3', 'http.client'}\n"
        "print(sorted(heavy & set(sys.modules)),"
        " file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


def test_every_commands_help_works(machine: Machine) -> None:
    program = (
        "from muniment.main.cli import COMMANDS, run\n"
        "for name in COMMANDS:\n"
        "    try: run([name, '--help'])\n"
        "    except SystemExit as leave: assert leave.code == 0, name\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=machine.surroundings()
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage: ") == 17
