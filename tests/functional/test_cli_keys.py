"""Holders of the vault: kits, passphrases, further machines; what needs the owner's confirmation."""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.machine import PASSPHRASE, Machine, differences
from tests.support.server import Served, shared_server

__all__ = ["shared_server"]


@pytest.fixture
def email() -> str:
    return f"{os.urandom(6).hex()}@keys.org"


@pytest.fixture
def machine(shared_server: Served, tmp_path: Path, email: str) -> Machine:
    return Machine(tmp_path / "home").connect(shared_server.url, shared_server.create_account(email))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    top.mkdir()
    (top / "will").write_bytes(b"to my dear niece" * 1000)
    return top


def stranger(tmp_path: Path, kit: str) -> Machine:
    """A machine that was never connected, with a kit and nothing else."""
    return Machine(
        tmp_path / "never connected",
        environment={"MUNIMENT_RECOVERY_KIT": kit, "MUNIMENT_PASSPHRASE": "unused"},
    )


def test_a_kit_alone_restores_on_a_machine_never_connected(
    machine: Machine, tree: Path, tmp_path: Path
) -> None:
    made = machine.done("backup", tree)
    bare = stranger(tmp_path, machine.kit)
    assert [one["id"] for one in bare.done("snapshots")] == [made["snapshot"]]
    assert [entry["path"] for entry in bare.done("ls", f"latest:{tree}")["entries"]] == [f"{tree}/will"]
    assert len(bare.done("find", "will")["matches"]) == 1
    bare.done("restore", f"latest:{tree}", "--target", tmp_path / "out")
    assert differences(tree, tmp_path / "out" / "tree") == []
    assert not bare.home.exists()
    assert "kit_used" in {event["kind"] for event in machine.done("events")}


def test_a_kit_only_reads(machine: Machine, tree: Path, tmp_path: Path) -> None:
    machine.done("backup", tree)
    bare = stranger(tmp_path, machine.kit)
    assert bare.run("backup", tree).code == 2
    assert bare.run("keys", "list").code == 2


def test_a_mistyped_kit_is_found_before_anything_is_asked(machine: Machine, tmp_path: Path) -> None:
    letter = machine.kit[30]
    typo = machine.kit[:30] + ("A" if letter != "A" else "B") + machine.kit[31:]
    ran = stranger(tmp_path, typo).run("snapshots", "--server", "http://127.0.0.1:9")
    assert (ran.code, ran.result["error"]) == (2, "MistypedCode")


def test_a_kit_on_paper_is_as_good(shared_server: Served, tmp_path: Path, tree: Path, email: str) -> None:
    page = tmp_path / "kit.html"
    machine = Machine(tmp_path / "home")
    machine.connect(shared_server.url, shared_server.create_account(email), "--kit-file", str(page))
    machine.done("backup", tree)
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    text = page.read_text()
    assert "<svg" in text
    assert "http://www.w3.org" not in text.replace("http://www.w3.org/2000/svg", "")
    assert not {"<script", "<link", "@import", "url(", "src="} & set(text.split())
    assert len(stranger(tmp_path, str(page)).done("snapshots")) == 1
    by_hand = machine.kit.lower().replace("-", " ")
    assert len(stranger(tmp_path, by_hand).done("snapshots")) == 1


def test_another_machine_opens_the_vault_with_the_passphrase(
    machine: Machine, shared_server: Served, tree: Path, tmp_path: Path, email: str
) -> None:
    made = machine.done("backup", tree)
    other = Machine(tmp_path / "other")
    connected = other.done(
        "connect", shared_server.url, "--code", shared_server.enrol(email), "--name", "desk"
    )
    assert connected["vault"] == machine.vault
    assert connected["recovery_kit"] is None
    assert connected["newest_snapshot"] == made["snapshot"]
    # What the first machine stored is not stored again by the second.
    assert other.done("backup", tree)["new_bytes"] == 0
    both = machine.done("snapshots")
    assert {one["device"] for one in both} == {"desk", machine.done("devices", "list")[0]["name"]}


def test_another_machine_opens_the_vault_with_the_kit(
    machine: Machine, shared_server: Served, tmp_path: Path, email: str
) -> None:
    other = Machine(tmp_path / "other", environment={"MUNIMENT_PASSPHRASE": "unused"})
    code = shared_server.enrol(email)
    connected = other.done("connect", shared_server.url, "--code", code, "--kit", machine.kit)
    assert connected["vault"] == machine.vault


def test_a_wrong_passphrase_does_not_spend_the_code(
    machine: Machine, shared_server: Served, tmp_path: Path, email: str
) -> None:
    code = shared_server.enrol(email)
    other = Machine(tmp_path / "other")
    wrong = other.run("connect", shared_server.url, "--code", code, more={"MUNIMENT_PASSPHRASE": "guess"})
    assert (wrong.code, wrong.result["error"]) == (1, "WrongSecret")
    assert not (other.home / "config.toml").exists()
    assert other.done("connect", shared_server.url, "--code", code)["vault"] == machine.vault
    spent = Machine(tmp_path / "third").run("connect", shared_server.url, "--code", code)
    assert (spent.code, spent.result["error"]) == (4, "NotGranted")


def test_new_and_existing_are_never_guessed_by_what_the_server_says(
    machine: Machine, shared_server: Served, tmp_path: Path, email: str
) -> None:
    other = Machine(tmp_path / "other")
    refused = other.run("connect", shared_server.url, "--code", shared_server.enrol(email), "--new")
    assert refused.code == 1
    assert refused.result["error"] == "VaultTaken"
    fresh = shared_server.create_account("first" + email)
    nothing = other.run("connect", shared_server.url, "--code", fresh, "--existing")
    assert (nothing.code, nothing.result["error"]) == (2, "UsageError")


def test_changing_the_passphrase_adds_now_and_removes_later(
    machine: Machine, shared_server: Served, tmp_path: Path, email: str
) -> None:
    changed = machine.done("keys", "change-passphrase", more={"MUNIMENT_NEW_PASSPHRASE": "another one"})
    assert len(changed["requests"]) == 1
    kinds = [slot["kind"] for slot in machine.done("keys", "list")]
    assert sorted(kinds) == ["device", "kit", "passphrase", "passphrase"]
    for number, passphrase in enumerate((PASSPHRASE, "another one")):
        other = Machine(tmp_path / f"other {number}", environment={"MUNIMENT_PASSPHRASE": passphrase})
        other.connect(shared_server.url, shared_server.enrol(email))
    assert machine.done("status")["pending"] == changed["requests"]
    again = machine.done("keys", "change-passphrase", more={"MUNIMENT_NEW_PASSPHRASE": "a third one"})
    assert [one["asked_before"] for one in again["removals"]] == [True, False]
    assert again["requests"][0] == changed["requests"][0]
    assert len({one["slot"] for one in again["removals"]}) == 2
    assert machine.done("status")["pending"] == again["requests"]


def test_a_new_passphrase_that_nobody_gives_is_asked_for_by_its_variable(machine: Machine) -> None:
    """The old one, which is set, is not what the command lacks."""
    ran = machine.run("keys", "change-passphrase")
    assert (ran.code, ran.result["error"]) == (2, "UsageError")
    assert "MUNIMENT_NEW_PASSPHRASE," in ran.result["advice"]
    assert "a new passphrase" in ran.result["message"]
    assert "MUNIMENT_PASSPHRASE" not in ran.result["advice"]


def test_revoking_needs_the_owner(
    machine: Machine, shared_server: Served, tree: Path, tmp_path: Path, email: str
) -> None:
    other = Machine(tmp_path / "other").connect(
        shared_server.url, shared_server.enrol(email), "--name", "lost"
    )
    other.done("backup", tree)
    asked = machine.run("devices", "revoke", "lost")
    assert (asked.code, asked.result["error"]) == (4, "NeedsOwnerConfirmation")
    assert other.run("backup").code == 0  # asking alone does nothing
    request = machine.done("status")["pending"][0]
    shared_server.confirm(request)
    shut_out = other.run("backup")
    assert (shut_out.code, shut_out.result["error"]) == (4, "NotGranted")
    assert machine.done("snapshots")  # what it stored stays


def test_a_slot_is_revoked_by_asking(machine: Machine) -> None:
    further = machine.done("keys", "recovery-kit")["recovery_kit"]
    assert further != machine.kit
    assert machine.done("keys", "test-kit", "--kit", further)["opens"] is True
    kits = [slot["slot"] for slot in machine.done("keys", "list") if slot["kind"] == "kit"]
    assert len(kits) == 2
    asked = machine.run("keys", "revoke", kits[0][:10])
    assert (asked.code, asked.result["error"]) == (4, "NeedsOwnerConfirmation")
    own = next(slot["slot"] for slot in machine.done("keys", "list") if slot["kind"] == "device")
    assert machine.run("keys", "revoke", own).code == 2


def test_a_passphrase_comes_from_a_file_or_a_command(
    machine: Machine, shared_server: Served, tmp_path: Path, email: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(PASSPHRASE + "\n")
    sources = ({"MUNIMENT_PASSPHRASE_FILE": str(secret)}, {"MUNIMENT_PASSPHRASE_COMMAND": f"cat '{secret}'"})
    unset = ["env", "-u", "MUNIMENT_PASSPHRASE", sys.executable]
    for number, source in enumerate(sources):
        other = Machine(tmp_path / f"other {number}", prefix=unset, environment=source)
        other.connect(shared_server.url, shared_server.enrol(email))
        assert other.vault == machine.vault
    nobody = Machine(tmp_path / "nobody", prefix=unset)
    ran = nobody.run("connect", shared_server.url, "--code", shared_server.enrol(email))
    assert ran.code == 2
    assert "MUNIMENT_PASSPHRASE" in ran.result["advice"]


def bring_forward(served: Served) -> None:
    """Let the delay of everything confirmed be over, as if three days had passed."""
    with closing(sqlite3.connect(served.data / "muniment.sqlite3", timeout=60)) as database, database:
        database.execute(
            "update vaults_confirmation set effective_at = '2001-01-01 00:00:00' where state = 'confirmed'"
        )


def test_a_confirmed_removal_is_folded_into_the_list_by_the_next_holder_of_the_key(
    machine: Machine, shared_server: Served, tmp_path: Path, tree: Path
) -> None:
    kit_slot = next(slot["slot"] for slot in machine.done("keys", "list") if slot["kind"] == "kit")
    request = machine.run("keys", "revoke", kit_slot).result["message"].rpartition(" ")[2]
    shared_server.confirm(request)
    assert stranger(tmp_path, machine.kit).run("snapshots").code == 0  # the delay runs
    bring_forward(shared_server)
    refused = stranger(tmp_path, machine.kit).run("snapshots")
    assert refused.code in (1, 4), refused.said
    machine.done("backup", tree)
    assert kit_slot not in {slot["slot"] for slot in machine.done("keys", "list")}
    assert machine.done("backup")["errors"] == 0
    assert "slot_removed" in {event["kind"] for event in machine.done("events")}


def test_no_kit_is_made_that_cannot_be_written(machine: Machine, tmp_path: Path) -> None:
    """Else a vault or a kit would be there that nobody has seen."""
    before = machine.done("keys", "list")
    for place in (tmp_path, Path("/proc/kit.html")):
        ran = machine.run("keys", "recovery-kit", "--kit-file", place)
        assert (ran.code, ran.result["error"]) == (2, "UsageError")
    assert machine.done("keys", "list") == before


def test_no_kit_takes_the_place_of_another(
    machine: Machine, shared_server: Served, tmp_path: Path, email: str
) -> None:
    """It may be the only one of its vault. The code stays good, and so does what was there."""
    page = tmp_path / "kit.html"
    machine.done("keys", "recovery-kit", "--kit-file", page)
    kept = page.read_text()
    other, code = Machine(tmp_path / "other"), shared_server.create_account(f"2{email}")
    for ran in (
        machine.run("keys", "recovery-kit", "--kit-file", page),
        other.run("connect", shared_server.url, "--code", code, "--kit-file", page),
    ):
        assert (ran.code, ran.error) == (2, "UsageError")
        assert "File exists" in ran.result["message"]
        assert "Name another file" in ran.result["advice"]
    assert page.read_text() == kept
    other.connect(shared_server.url, code, "--kit-file", str(tmp_path / "kit of other.html"))


def test_a_kit_that_nobody_can_type_is_asked_for_by_name(tmp_path: Path) -> None:
    ran = Machine(tmp_path / "never connected").run("keys", "test-kit")
    assert ran.code == 2
    assert "MUNIMENT_RECOVERY_KIT" in ran.result["advice"]
