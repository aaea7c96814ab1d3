"""What was typed: global options, names of snapshots, sets, schedules, rules for secrets."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

from muniment.client.backup.last_runs import seconds_of
from muniment.client.backup.run import bound_of
from muniment.client.cli.options import take_global_options
from muniment.client.enrol.passphrases import kit_text, passphrase_from_environment
from muniment.client.home.config import BackupSet, Config, Connection, read_path, write_path
from muniment.client.home.keychain import DeviceSecrets, keep, recall
from muniment.client.home.locks import run_lock
from muniment.client.home.places import Home, write_private
from muniment.client.sets.choose import resolve_roots, rules_of
from muniment.client.telling import progress as progress_module
from muniment.client.telling.display import progress_line, time_left
from muniment.client.telling.output import (
    Output,
    human_age,
    human_seconds,
    human_size,
    json_path,
    printable_path,
    table,
)
from muniment.client.telling.progress import RunProgress
from muniment.client.vault.snapshots import SnapshotName
from muniment.engine.ports import Problem
from muniment.model.errors import AlreadyRunning, MunimentError, UsageError
from muniment.model.ids import DeviceId, VaultId

# --- global options


def test_global_options_stand_anywhere() -> None:
    options, rest = take_global_options(
        ["--json", "backup", "/home", "--vault", "ab", "--limit-up=100", "--set", "x", "--insecure"]
    )
    assert (options.as_json, options.vault, options.limit_up, options.insecure) == (True, "ab", 100, True)
    assert rest == ["backup", "/home", "--set", "x"]


def test_after_two_hyphens_everything_is_a_path() -> None:
    options, rest = take_global_options(["backup", "--", "--json"])
    assert not options.as_json
    assert rest == ["backup", "--", "--json"]


@pytest.mark.parametrize("words", [["--vault"], ["--limit-up", "fast"], ["--ca-file="]])
def test_options_without_their_value_are_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        take_global_options(words)


# --- names of snapshots


@pytest.mark.parametrize(
    ("text", "snapshot", "path"),
    [
        ("latest", "latest", None),
        ("latest:/home/me", "latest", b"/home/me"),
        ("latest:", "latest", b""),
        ("2026-11-22", "2026-11-22", None),
        ("2026-11-22T10:30:/srv", "2026-11-22T10:30", b"/srv"),
        ("0123abcd:a:b", "0123abcd", b"a:b"),
        ("ABCDEF", "ABCDEF", None),
        ("latest:/\udcff", "latest", b"/\xff"),
    ],
)
def test_a_snapshot_and_a_path_in_it(text: str, snapshot: str, path: bytes | None) -> None:
    assert SnapshotName.parse(text) == SnapshotName(snapshot, path)


@pytest.mark.parametrize("text", ["", "yesterday", "abc", "/home", "2026-11", "latest/home"])
def test_what_names_no_snapshot(text: str) -> None:
    with pytest.raises(UsageError):
        SnapshotName.parse(text)


# --- sets


def test_roots_are_absolute_and_free_of_links_on_the_way(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "file").write_text("x")
    (tmp_path / "way").symlink_to(real)
    (real / "link").symlink_to("file")
    roots = resolve_roots(
        [os.fsencode(tmp_path / "way" / ".." / "way" / "file"), os.fsencode(tmp_path / "way")]
    )
    assert roots == (os.fsencode(real / "file"), os.fsencode(real))
    assert resolve_roots([os.fsencode(tmp_path / "way" / "link")]) == (os.fsencode(real / "link"),)
    assert resolve_roots([b"/"]) == (b"/",)
    with pytest.raises(UsageError):
        resolve_roots([os.fsencode(tmp_path / "nowhere")])


def test_our_own_state_is_left_out(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", tmp_path / "home" / "st[a]te", self_contained=True)
    rules, _ = rules_of(BackupSet("x", (os.fsencode(tmp_path),)), home=home)
    places = [b"st[a]te", b"state"]
    excluded = rules.rules_for(os.fsencode(tmp_path / "home") + b"/", places, directories=places)
    assert excluded.keys() == {b"st[a]te"}


def test_configuration_survives_writing_and_keeps_comments(tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path / "state", self_contained=True)
    odd = BackupSet("odd name", (b"/\xff", b"/home"), ("*.o",), ("/rules",), True, (b"/home",), False)
    connection = Connection(
        VaultId(b"v" * 16), "https://x", DeviceId(b"d" * 16), "box", b"k" * 16, True, sets={"odd name": odd}
    )
    Config.load(home).with_connection(connection).save()
    text = home.config_file.read_text()
    home.config_file.write_text("# mine\n" + text)
    loaded = Config.load(home)
    assert loaded.connection(None) == connection
    assert loaded.connection("76") == connection
    loaded.save()
    assert home.config_file.read_text().startswith("# mine\n")
    assert stat.S_IMODE(home.config_file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text",
    [
        "not toml [",
        "[vaults.xyz]\nserver = 1",
        f"[vaults.{'0' * 32}]\nserver = 'https://x'",
        "default_vault = 5",
        "vaults = 3",
    ],
)
def test_configuration_that_says_nothing_sensible_is_named(tmp_path: Path, text: str) -> None:
    home = Home(tmp_path, tmp_path / "state", self_contained=True)
    home.config_file.write_text(text)
    with pytest.raises(UsageError, match=r"config\.toml"):
        Config.load(home)


def test_paths_are_written_as_text_where_they_are() -> None:
    for path in (b"/home/me", "/größe".encode(), b"/\xff\n"):
        assert read_path(write_path(path)) == path
    with pytest.raises(ValueError):
        read_path("relative")


def test_no_vault_and_several_vaults_are_told_apart(tmp_path: Path) -> None:
    config = Config.load(Home(tmp_path, tmp_path, self_contained=True))
    with pytest.raises(UsageError, match="not connected"):
        config.connection(None)


# --- secrets


def test_device_secrets_are_kept_for_their_owner_only(tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path / "state", self_contained=True)
    secrets = DeviceSecrets("token", b"k" * 32, b"p" * 16)
    where = keep(secrets, home=home, vault=VaultId(b"v" * 16))
    assert where == "file"
    assert recall(where, home=home, vault=VaultId(b"v" * 16)) == secrets
    file = next(home.credentials.iterdir())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "token" not in repr(secrets)
    file.write_text("{}")
    with pytest.raises(MunimentError, match="device key"):
        recall(where, home=home, vault=VaultId(b"v" * 16))


def test_a_systemd_credential_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path, tmp_path / "state", self_contained=True)
    vault = VaultId(b"v" * 16)
    secrets = DeviceSecrets("from systemd", b"k" * 32, b"p" * 16)
    (tmp_path / f"muniment-{vault}").write_text(secrets.to_text())
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert recall("file", home=home, vault=vault) == secrets


class InMemory(KeyringBackend):
    """A key store of the system, as far as keyring can tell."""

    priority = 5

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}
        self.locked = False

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def get_password(self, service: str, username: str) -> str | None:
        if self.locked:
            raise KeyringLocked("somebody has to type a password")
        return self.kept.get((service, username))


@pytest.fixture
def key_store() -> Iterator[InMemory]:
    before, store = keyring.get_keyring(), InMemory()
    keyring.set_keyring(store)
    yield store
    keyring.set_keyring(before)


def test_a_key_store_of_the_system_is_preferred(tmp_path: Path, key_store: InMemory) -> None:
    vault, secrets = VaultId(b"v" * 16), DeviceSecrets("token", b"k" * 32, b"p" * 16)
    own = Home(tmp_path / "own", tmp_path / "own", self_contained=True)
    assert keep(secrets, home=own, vault=vault) == "file"
    usual = Home(tmp_path / "usual", tmp_path / "usual", self_contained=False)
    assert keep(secrets, home=usual, vault=vault) == "keyring"
    assert not usual.credentials.exists()
    assert recall("keyring", home=usual, vault=vault) == secrets
    key_store.locked = True
    with pytest.raises(MunimentError):
        recall("keyring", home=usual, vault=vault)
    assert keep(secrets, home=usual, vault=vault) == "file"


@pytest.mark.parametrize("suffix", ["", "_FILE", "_COMMAND"])
def test_an_empty_passphrase_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    (tmp_path / "empty").write_text("\n")
    value = {"": "", "_FILE": str(tmp_path / "empty"), "_COMMAND": "true"}[suffix]
    monkeypatch.setenv(f"MUNIMENT_PASSPHRASE{suffix}", value)
    with pytest.raises(UsageError):
        passphrase_from_environment()


def test_a_failing_command_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUNIMENT_PASSPHRASE_COMMAND", "false --secret=hunter2")
    with pytest.raises(UsageError) as caught:
        passphrase_from_environment()
    assert "hunter2" not in str(caught.value)


def test_only_the_line_end_is_taken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("  spaces stay  \r\n")
    monkeypatch.setenv("MUNIMENT_PASSPHRASE_FILE", str(tmp_path / "secret"))
    assert passphrase_from_environment() == "  spaces stay  "


def test_a_kit_is_given_as_itself_or_in_a_file(tmp_path: Path) -> None:
    assert kit_text("MUNIK1-ABC") == "MUNIK1-ABC"
    assert kit_text(None) is None
    (tmp_path / "kit").write_text('<div data-kit="MUNIK1-XYZ">MUNIK1 XYZ</div>')
    assert kit_text(str(tmp_path / "kit")) == "MUNIK1-XYZ"
    (tmp_path / "other").write_text("nothing here")
    for missing in (tmp_path / "other", tmp_path / "nowhere"):
        with pytest.raises(UsageError):
            kit_text(str(missing))


def test_private_files_are_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_private(path, b"one")
    write_private(path, b"two")
    assert path.read_bytes() == b"two"
    assert [item.name for item in path.parent.iterdir()] == ["file"]


# --- locks, times, numbers


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with run_lock(tmp_path / "lock", name="home"):
        with pytest.raises(AlreadyRunning, match="home"):
            with run_lock(tmp_path / "lock", name="home"):
                raise AssertionError("the lock was given twice")
    with run_lock(tmp_path / "lock", name="home"):
        assert (tmp_path / "lock").exists()


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("1h", 3600), ("7d", 604_800), ("2w", 1_209_600)]
)
def test_lengths_of_time(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "h", "-1h", "0d", "1y", "1.5h"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(UsageError):
        seconds_of(text)


def test_the_server_learns_a_power_of_two_at_most() -> None:
    assert [bound_of(size) for size in (0, 1, 2**20, 2**20 + 1, 3 * 2**30)] == [
        2**20,
        2**20,
        2**20,
        2**21,
        2**32,
    ]


def test_numbers_as_people_read_them() -> None:
    assert [human_size(size) for size in (0, 1023, 1536, 10 * 2**20, 300 * 2**30)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "10.0 MiB",
        "300 GiB",
    ]
    assert [human_seconds(seconds) for seconds in (0.44, 45, 600, 7260)] == [
        "0.4 s",
        "45 s",
        "10 min",
        "2 h 01 min",
    ]
    assert [human_age(seconds) for seconds in (5, 60, 7200, 6 * 86_400)] == [
        "a moment",
        "1 minute",
        "2 hours",
        "6 days",
    ]


def test_paths_never_steer_a_terminal_and_survive_json() -> None:
    nasty = b"\x1b[31mred\n\xff"
    assert printable_path(nasty) == "\\x1b[31mred\\n\\xff"
    assert os.fsencode(json_path(nasty)) == nasty


def test_tables_line_up() -> None:
    assert table([("a", "1"), ("long", "22")], heads=("x", "n"), right=(1,)) == [
        "x      n",
        "a      1",
        "long  22",
    ]


def test_the_live_line_goes_on_while_only_sending_remains() -> None:
    progress = RunProgress(total_files=50, total_bytes=500 << 20)
    progress.found(files=12_345, content=500 << 20)
    progress.stored(new=500 << 20, sealed=100 << 20)
    waiting = [40 << 20]
    progress.backlog = lambda: waiting[0]
    assert "40.0 MiB to send" in progress_line(progress, verb="Backing up")
    progress.only_sending()
    assert progress.sending_since is not None
    progress.sending_since = (progress.sending_since[0] - 10, 40 << 20)
    waiting[0] = 39 << 20
    assert time_left(progress) is None
    waiting[0] = 20 << 20
    assert time_left(progress) == pytest.approx(10, abs=1)
    line = progress_line(progress, verb="Backing up", room=59)
    assert line.startswith("Backing up: 20.0 MiB to send · about ")
    assert "left" in line
    assert len(line) <= 59
    progress.reading_again()
    assert time_left(progress) is None


def test_a_narrow_line_keeps_the_time_left_and_the_problems() -> None:
    progress = RunProgress(total_files=100, total_bytes=1000)
    progress.started -= 10
    progress.found(files=50, content=500)
    progress.stored(new=500, sealed=100)
    progress.problem(b"/x", Problem.UNREADABLE, detail="")
    line = progress_line(progress, verb="Backing up", room=59)
    assert "left" in line
    assert "1 problem" in line
    assert "saved" not in line


def test_what_is_said_never_runs_into_the_live_line() -> None:
    said = io.StringIO()
    output = Output(False, io.StringIO(), said)
    output.draw("Backing up: 1 file")
    output.note("Stopping soon.")
    output.warn("slow")
    assert said.getvalue() == "\r\x1b[2KBacking up: 1 file\r\x1b[2KStopping soon.\nmuniment: slow\n"


def test_the_live_line_says_what_matters() -> None:
    progress = RunProgress(total_files=100, total_bytes=1000)
    assert time_left(progress) is None
    progress.started -= 10
    progress.found(files=50, content=500)
    progress.stored(new=500, sealed=100)
    progress.problem(b"/x", Problem.UNREADABLE, detail="")
    progress.problem(b"/y", Problem.VANISHED, detail="")
    line = progress_line(progress, verb="Backing up")
    for part in ("50 files", "500 B", "/s", "80% saved", "about 1", "1 problem"):
        assert part in line
    assert time_left(progress) == pytest.approx(10, abs=1)


def test_many_problems_of_one_kind_crowd_out_none_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "KEPT_PROBLEMS", 2)
    progress = RunProgress()
    for number in range(5):
        progress.problem(b"%d" % number, Problem.METADATA, detail="")
    progress.problem(b"lost", Problem.DAMAGED, detail="")
    assert [trouble.path for trouble in progress.troubles] == [b"0", b"1", b"lost"]
    assert [trouble.path for trouble in progress.errors] == [b"lost"]
