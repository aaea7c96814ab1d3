"""The restore target by itself: what its files get, when they appear, and what else may be there."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import muniment.client.disk.staging as staging_module
from muniment.client.disk.attributes import AttributeSetter
from muniment.client.disk.staging import PREFIX
from muniment.client.disk.target import PosixTarget
from muniment.engine.ports import Metadata, Ownership, Placement
from muniment.model.entry import Owner
from muniment.model.errors import UnsafePath

ME = Owner(os.geteuid(), os.getegid())
PLAIN = Metadata(stat.S_IFREG | 0o644, ME, 10**18)
FOLDER = Metadata(stat.S_IFDIR | 0o755, ME, 10**18)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[PosixTarget]:
    disk = PosixTarget(bytes(tmp_path / "out"), ownership=Ownership.BY_ID)
    yield disk
    disk.close()


def put(target: PosixTarget, key: bytes, name: bytes, content: bytes = b"new", **wanted: object) -> None:
    placement = wanted.get("placement", Placement.ADD)
    target.directory(key).put_file(name, [content], metadata=PLAIN, placement=placement)  # type: ignore[arg-type]


def test_nothing_appears_before_it_is_published(target: PosixTarget, tmp_path: Path) -> None:
    put(target, b"", b"file")
    target.directory(b"").make_directory(b"directory", placement=Placement.ADD)
    put(target, b"directory\0", b"inside")
    seen = [name for name in os.listdir(tmp_path / "out") if not name.encode().startswith(PREFIX)]
    assert seen == []
    assert target.publish() == []
    assert (tmp_path / "out" / "file").read_bytes() == b"new"
    assert (tmp_path / "out" / "directory" / "inside").read_bytes() == b"new"
    target.close()
    assert sorted(os.listdir(tmp_path / "out")) == ["directory", "file"]


def test_what_is_not_published_leaves_nothing(target: PosixTarget, tmp_path: Path) -> None:
    put(target, b"deep\0deeper\0", b"file")
    staged = target.directory(b"").stage_file(b"large")
    staged.write(b"x" * 1000, offset=0)
    target.close()
    assert os.listdir(tmp_path / "out") == []


def test_directories_of_a_batch_stay_usable_after_it(target: PosixTarget, tmp_path: Path) -> None:
    for batch in range(3):
        for number in range(3):
            put(target, b"a\0b\0", b"%d-%d" % (batch, number))
            put(target, b"a\0c%d\0" % batch, b"%d" % number)
        assert target.publish() == []
    assert len(list((tmp_path / "out" / "a" / "b").iterdir())) == 9
    assert {path.name for path in (tmp_path / "out" / "a").iterdir()} == {"b", "c0", "c1", "c2"}


def test_a_large_file_may_outlive_batches(target: PosixTarget, tmp_path: Path) -> None:
    target.directory(b"").make_directory(b"d", placement=Placement.ADD)
    staged = target.directory(b"d\0").stage_file(b"large")
    staged.write(b"begin", offset=0)
    target.publish()
    assert os.listdir(tmp_path / "out" / "d") == []
    staged.write(b"end", offset=1 << 20)
    assert staged.finish(size=2 << 20, metadata=PLAIN, placement=Placement.ADD) == []
    target.publish()
    content = (tmp_path / "out" / "d" / "large").read_bytes()
    assert len(content) == 2 << 20
    assert content[:5] == b"begin"
    assert content[1 << 20 : (1 << 20) + 3] == b"end"


def test_a_name_taken_meanwhile_is_never_replaced_unasked(target: PosixTarget, tmp_path: Path) -> None:
    put(target, b"", b"file")
    target.directory(b"").put_link(b"link", target=b"x", metadata=PLAIN, placement=Placement.ADD)
    target.directory(b"").make_directory(b"directory", placement=Placement.ADD)
    put(target, b"directory\0", b"inside")
    for name in ("file", "link"):
        (tmp_path / "out" / name).write_text("somebody else's")
    (tmp_path / "out" / "directory").mkdir()
    failures = target.publish()
    assert {(key, name) for key, name, _ in failures} == {(b"", b"file"), (b"", b"link"), (b"", b"directory")}
    assert (tmp_path / "out" / "file").read_text() == "somebody else's"
    assert os.listdir(tmp_path / "out" / "directory") == []
    # The handles of what found no place are forgotten: the next batch goes where the name leads now.
    put(target, b"directory\0", b"later")
    assert target.publish() == []
    assert os.listdir(tmp_path / "out" / "directory") == ["later"]


@pytest.mark.parametrize("code", ["renameat2", None])
def test_older_systems_refuse_just_as_well(
    target: PosixTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str | None
) -> None:
    class Libc:
        """Without the call, or with one that says the file system lacks the flag."""

    libc = Libc()
    if code:

        def refuse(*_: object) -> int:
            ctypes.set_errno(22)
            return -1

        libc.renameat2 = refuse  # type: ignore[attr-defined]
    monkeypatch.setattr(staging_module, "_libc", libc)
    monkeypatch.setattr(staging_module, "sync_file_system", lambda fd: None)
    (tmp_path / "out" / "taken").write_text("mine")
    put(target, b"", b"taken")
    put(target, b"", b"free")
    put(target, b"fresh\0", b"inside")
    assert [(key, name) for key, name, _ in target.publish()] == [(b"", b"taken")]
    assert (tmp_path / "out" / "taken").read_text() == "mine"
    assert (tmp_path / "out" / "free").read_bytes() == b"new"
    assert (tmp_path / "out" / "fresh" / "inside").read_bytes() == b"new"


def test_the_disk_is_told_to_begin_before_a_batch_ends(
    target: PosixTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    monkeypatch.setattr(staging_module, "sync_file_system", told.append)
    monkeypatch.setattr("muniment.client.disk.target._EARLY_SYNC", 1000)
    for number in range(20):
        put(target, b"d%d\0" % number, b"file", b"x" * 400)
    target.close()
    assert told


def test_what_a_killed_restore_left_is_swept_but_not_what_a_living_one_uses(
    target: PosixTarget, tmp_path: Path
) -> None:
    dead = tmp_path / "out" / os.fsdecode(PREFIX + b"0123456789abcdef")
    deep = dead / "1" / "2" / "3"
    deep.mkdir(parents=True)
    dead.chmod(0o700)
    (deep / "file").write_text("left over")
    (dead / "4").mkdir()
    not_ours = tmp_path / "out" / os.fsdecode(PREFIX + b"of-mine")
    not_ours.mkdir(mode=0o700)
    put(target, b"", b"waiting")
    other = PosixTarget(bytes(tmp_path / "out"))
    assert not dead.exists()
    assert not_ours.exists()
    other.close()
    assert target.publish() == []
    assert (tmp_path / "out" / "waiting").exists()


def test_the_target_hands_down_neither_rights_nor_group(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    everyone = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, 7, 0xFFFFFFFF) for tag in (1, 4, 0x20)
    )
    os.setxattr(out, "system.posix_acl_default", everyone)
    os.chmod(out, 0o2777)
    disk = PosixTarget(bytes(out), ownership=Ownership.BY_ID)
    try:
        put(disk, b"", b"file")
        put(disk, b"d\0", b"file")
        disk.publish()
        disk.directory(b"d\0").set_metadata(FOLDER)
    finally:
        disk.close()
    for path in (out / "file", out / "d" / "file", out / "d"):
        assert os.listxattr(path) == []
    assert stat.S_IMODE(os.stat(out / "file").st_mode) == 0o644
    assert stat.S_IMODE(os.stat(out / "d").st_mode) == 0o755
    assert os.stat(out / "d" / "file").st_gid == os.getegid()


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/", b"nul\0"])
def test_no_name_leads_out(target: PosixTarget, name: bytes) -> None:
    here = target.directory(b"")
    for attempt in (
        lambda: here.put_file(name, [b"x"], metadata=PLAIN, placement=Placement.ADD),
        lambda: here.put_link(name, target=b"x", metadata=PLAIN, placement=Placement.ADD),
        lambda: here.make_directory(name, placement=Placement.ADD),
        lambda: here.put_hard_link(name, directory=b"", existing=b"x", placement=Placement.ADD),
        lambda: here.put_hard_link(b"x", directory=b"", existing=name, placement=Placement.ADD),
        lambda: here.stage_file(name),
        lambda: here.existing(name),
    ):
        with pytest.raises(UnsafePath):
            attempt()
    if b"\0" not in name and name:
        with pytest.raises(UnsafePath):
            target.directory(name + b"\0")


def test_metadata_is_set_to_the_nanosecond_or_reported(target: PosixTarget, tmp_path: Path) -> None:
    metadata = Metadata(
        stat.S_IFREG | 0o4751, ME, 1_234_567_890_987_654_321, ((b"user.a", b"1"), (b"none.such", b"x"))
    )
    problems = target.directory(b"").put_file(b"f", [b""], metadata=metadata, placement=Placement.ADD)
    target.publish()
    found = os.stat(tmp_path / "out" / "f")
    assert found.st_mtime_ns == 1_234_567_890_987_654_321
    assert stat.S_IMODE(found.st_mode) == 0o4751
    assert os.getxattr(tmp_path / "out" / "f", "user.a") == b"1"
    assert len(problems) == 1
    assert "none.such" in problems[0]


_ANOTHER = """
import os, stat, sys
from muniment.client.disk.target import PosixTarget
from muniment.engine.ports import Metadata, Placement
from muniment.model.entry import Owner
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
target = PosixTarget(os.fsencode(sys.argv[1]))
"""

_NOT_ROOT = """
here = target.directory(b"")
mode = stat.S_IFREG | 0o440
mine = here.put_file(b"mine", [b"x"], metadata=Metadata(mode, Owner(os.geteuid(), os.getegid()), 5, ((b"user.a", b"1"),)), placement=Placement.ADD)
other = here.put_file(b"other", [b"x"], metadata=Metadata(mode, Owner(0, 0, b"root", b"root"), 5), placement=Placement.ADD)
power = here.put_file(b"power", [b"x"], metadata=Metadata(stat.S_IFREG | 0o6755, Owner(0, 0, b"root", b"root"), 5), placement=Placement.ADD)
link = here.put_link(b"link", target=b"x", metadata=Metadata(stat.S_IFLNK | 0o777, Owner(12, os.getegid()), 5), placement=Placement.ADD)
target.publish(); target.close()
print(len(mine), len(other), len(link), sum("set-id" in problem for problem in power))
"""  # noqa: E501


def done_as_another(script: str, place: str) -> str:
    """What it prints. Run by root, as another user, whose `place` becomes; else as who we are."""
    if os.geteuid() == 0:
        os.chown(place, 65534, 65534)
    done = subprocess.run(
        [sys.executable, "-c", _ANOTHER + script, place], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_who_is_not_root_restores_what_is_theirs_and_says_what_is_not() -> None:
    with tempfile.TemporaryDirectory() as place:
        mine, other, link, power = map(int, done_as_another(_NOT_ROOT, place).split())
        assert mine == 0
        assert other >= 1
        assert link == 1
        # What was root's to lend is not ours to lend.
        assert power == 1
        assert stat.S_IMODE(os.stat(os.path.join(place, "power")).st_mode) == 0o755
        assert os.getxattr(os.path.join(place, "mine"), "user.a") == b"1"
        assert os.stat(os.path.join(place, "mine")).st_mtime_ns == 5


_SHUT = """
me = Owner(os.geteuid(), os.getegid())
for content in b"first", b"second":
    here = target.directory(b"shut\\0")
    for name in b"a", b"b":
        here.put_file(name, [content], metadata=Metadata(stat.S_IFREG | 0o644, me, 5), placement=Placement.REPLACE)
    print(target.publish())
    target.directory(b"shut\\0").set_metadata(Metadata(stat.S_IFDIR | 0o555, me, 5))
target.close()
"""  # noqa: E501


def test_a_directory_shut_to_its_owner_is_opened_for_what_is_put_there() -> None:
    with tempfile.TemporaryDirectory() as place:
        assert done_as_another(_SHUT, place) == "[]\n[]\n"
        shut = Path(place) / "shut"
        assert {path.name: path.read_text() for path in shut.iterdir()} == {"a": "second", "b": "second"}
        assert stat.S_IMODE(shut.stat().st_mode) == 0o555


def test_owners_go_by_name_where_the_name_is_known(tmp_path: Path) -> None:
    by_name, by_id = AttributeSetter(Ownership.BY_NAME), AttributeSetter(Ownership.BY_ID)
    moved = Owner(4242, 4243, b"root", b"root")
    assert by_name._ids_of(moved) == (0, 0)
    assert by_id._ids_of(moved) == (4242, 4243)
    assert by_name._ids_of(Owner(4242, 4243, b"no-such-user", b"")) == (4242, 4243)
