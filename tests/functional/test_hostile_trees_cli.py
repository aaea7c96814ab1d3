"""Trees that want out, well sealed by a hostile holder of the key, given to the real `muniment restore`.

Nothing outside the target is written, made, removed or changed in any way; nothing crashes; what can be
restored is.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from muniment.format.page import encode_leaf
from muniment.model.entry import Entry, Owner, PageRef, PageType
from tests.support.attacked import AttackedVault
from tests.support.evil import Evil
from tests.support.forger import ForgedPack, Forger, directory, entry, file, link
from tests.support.machine import Machine, Ran

OUTSIDE = b"@OUTSIDE@"
"""Stands for the absolute path of the directory that must not be touched."""

MakeTree = Callable[[Callable[[bytes], Entry]], list[Entry]]
"""Given a maker of a small file at a path, the entries of a tree."""


def named(name: bytes, *, under: bytes = b"") -> MakeTree:
    """One file whose name is not one."""
    return lambda small: [replace(small(b"x"), directory=under, name=name)]


def through_link(target: bytes) -> MakeTree:
    return lambda small: [link(b"door", target), small(b"door/planted")]


TREES: dict[str, MakeTree] = {
    "dot-dot": named(b".."),
    "dot": named(b"."),
    "empty-name": named(b""),
    "slash": named(b"/"),
    "slash-inside": named(b"../planted"),
    "absolute": named(OUTSIDE + b"/planted"),
    "nul": named(b"planted\0"),
    "climbing-directory": named(b"planted", under=b"..\0..\0"),
    "climbing-later": named(b"planted", under=b"a\0..\0..\0"),
    "directory-with-slash": named(b"planted", under=OUTSIDE + b"\0"),
    "directory-of-dots": named(b"planted", under=b".\0"),
    "directory-of-nothing": named(b"planted", under=b"\0"),
    "directory-unfinished": named(b"planted", under=b"a"),
    "link-then-file": through_link(OUTSIDE),
    "link-then-file-relative": through_link(b"../outside"),
    "link-to-self-then-file": through_link(b"."),
    "link-then-directory": lambda small: [
        link(b"door", OUTSIDE),
        directory(b"door/sub"),
        small(b"door/sub/planted"),
    ],
    "link-then-directory-metadata": lambda small: [
        link(b"door", OUTSIDE),
        directory(b"real"),
        replace(directory(b"door/sub"), mode=stat.S_IFDIR | 0),
    ],
    "link-then-link": lambda small: [link(b"door", OUTSIDE), link(b"door/planted", b"/etc/passwd")],
    "link-then-fifo": lambda small: [
        link(b"door", OUTSIDE),
        entry(b"door/planted", mode=stat.S_IFIFO | 0o644),
    ],
    "links-in-a-row": lambda small: [link(b"one", b"two"), link(b"two", OUTSIDE), small(b"one/planted")],
    "link-loop": lambda small: [link(b"one", b"two"), link(b"two", b"one"), small(b"one/planted")],
    "hard-link-of-a-link": lambda small: [
        replace(link(b"a", OUTSIDE + b"/precious"), link_group=1),
        replace(small(b"b"), link_group=1),
    ],
    "hard-link-into-a-link": lambda small: [
        link(b"door", OUTSIDE),
        replace(small(b"a"), link_group=1),
        replace(small(b"door/planted"), link_group=1),
    ],
    "hard-link-group-of-everything": lambda small: [
        replace(directory(b"d"), link_group=1),
        replace(small(b"d/f"), link_group=1),
        replace(link(b"l", OUTSIDE), link_group=1),
        replace(entry(b"p", mode=stat.S_IFIFO | 0o600), link_group=1),
    ],
    "hard-link-group-absurd": lambda small: [replace(small(b"a"), link_group=(1 << 63) - 1)],
    "file-then-beneath-it": lambda small: [small(b"f"), small(b"f/planted")],
    "fifo-then-beneath-it": lambda small: [entry(b"f", mode=stat.S_IFIFO | 0o644), small(b"f/planted")],
    "beneath-nothing": lambda small: [small(b"never/made/planted")],
    "device": lambda small: [entry(b"mem", mode=stat.S_IFCHR | 0o666, device=(1, 1)), small(b"z")],
    "device-numbers-absurd": lambda small: [
        entry(b"mem", mode=stat.S_IFBLK | 0o666, device=((1 << 32) - 1, (1 << 32) - 1)),
        small(b"z"),
    ],
    "set-id": lambda small: [replace(small(b"sh"), mode=stat.S_IFREG | 0o6777)],
    "mode-absurd": lambda small: [replace(small(b"f"), mode=0xFFF0_0000 | stat.S_IFREG | 0o644)],
    "capability": lambda small: [
        replace(small(b"f"), xattrs=((b"security.capability", b"\1\0\0\2" + bytes(16)),))
    ],
    "attributes-absurd": lambda small: [
        replace(small(b"f"), xattrs=((b"", b"x"), (b"nonsense", b"x"), (b"user." + b"n" * 300, b"x")))
    ],
    "attribute-huge": lambda small: [replace(small(b"f"), xattrs=((b"user.big", bytes(200_000)),))],
    "acl-nonsense": lambda small: [
        replace(small(b"f"), xattrs=((b"system.posix_acl_access", b"\xff" * 33),))
    ],
    "times-absurd": lambda small: [
        replace(small(b"a"), mtime_ns=-(1 << 63)),
        replace(small(b"b"), mtime_ns=(1 << 63) - 1),
        replace(directory(b"d"), mtime_ns=-(1 << 63)),
        replace(link(b"l", b"x"), mtime_ns=(1 << 63) - 1),
    ],
    "owner-absurd": lambda small: [
        replace(small(b"a"), owner=Owner((1 << 32) - 1, (1 << 32) - 1)),
        replace(small(b"b"), owner=Owner(0, 0, b"\0\xff/", b"n" * 100_000)),
        replace(directory(b"d"), owner=Owner((1 << 32) - 1, (1 << 32) - 2, b"\xff", b"\xff")),
    ],
    "name-too-long": lambda small: [small(b"n" * 3000), small(b"ok")],
    "path-very-deep": lambda small: [small(b"d/" * 600 + b"planted")],
    "names-for-terminals": lambda small: [
        small(b"\x1b[2J\x1b]0;owned\x07\r\n"),
        small(b"\xff\xfe\xe2\x80\xae"),
    ],
    "link-target-huge": lambda small: [link(b"l", b"x" * 60_000), small(b"ok")],
    "socket": lambda small: [entry(b"s", mode=stat.S_IFSOCK | 0o777), small(b"ok")],
    "many-names-of-one-content": lambda small: [small(b"%04d" % number) for number in range(2000)],
}


def forge(forger: Forger, make: MakeTree, outside: Path) -> PageRef:
    """The tree, built as an honest tool would if it let these entries pass; else as one raw page."""
    pack: ForgedPack = forger.pack()
    held = pack.chunk(b"planted\n")
    place = os.fsencode(outside)
    entries = []
    for one in make(lambda path: file(path, held)):
        entries.append(
            replace(
                one,
                name=one.name.replace(OUTSIDE, place),
                directory=one.directory.replace(OUTSIDE, place),
                link_target=one.link_target.replace(OUTSIDE, place),
            )
        )
    entries.sort(key=lambda one: one.key)
    if len(entries) > 100:
        root = forger.tree(entries, pack=pack)
    else:
        size = sum(one.size for one in entries if one.is_file)
        root = pack.page(
            PageType.LEAF, encode_leaf(entries), level=0, last_key=entries[-1].key, entries=len(entries),
            content=size,
        )  # fmt: skip
    pack.seal()
    return root


def picture(place: Path) -> dict[str, tuple[object, ...]]:
    """All that could be changed about what lies there."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [place, *sorted(place.rglob("*"))]:
        told = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(told.st_mode) else b""
        found[str(path)] = (
            told.st_mode, told.st_uid, told.st_gid, told.st_mtime_ns, told.st_ctime_ns, told.st_nlink,
            content,
            tuple(sorted(os.listxattr(path, follow_symlinks=False))),
        )  # fmt: skip
    return found


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    place = tmp_path / "outside"
    place.mkdir()
    (place / "precious").write_text("do not touch")
    (place / "sub").mkdir()
    return place


def attack(attacked: AttackedVault, make: MakeTree, outside: Path, target: Path, *options: str) -> Ran:
    forger = Forger(attacked.keys)
    snapshot = forger.snapshot(forge(forger, make, outside))
    bare = Machine(target.with_name("bare"))
    with Evil(attacked.url) as evil:
        forger.plant(evil)
        return bare.muniment(
            "--kit", attacked.kit, "restore", snapshot, "--target", target, *options, server=evil.url
        )


@pytest.mark.parametrize("options", [(), ("--overwrite", "always", "--special")], ids=["plain", "reckless"])
@pytest.mark.parametrize("name", TREES)
def test_nothing_leaves_the_target(
    attacked: AttackedVault, name: str, options: tuple[str, ...], outside: Path, tmp_path: Path
) -> None:
    before = picture(outside)
    beside = sorted(path.name for path in tmp_path.iterdir())
    here = sorted(os.listdir())
    ran = attack(attacked, TREES[name], outside, tmp_path / "target", *options)
    assert ran.code in {0, 3, 5}, ran
    assert picture(outside) == before
    assert sorted({path.name for path in tmp_path.iterdir()} - {"target", "bare"}) == beside
    assert sorted(os.listdir()) == here
    if ran.code and ran.error is None:
        assert ran.result["problems"] or ran.result["damaged_packs"]
    if not options:
        for path in (tmp_path / "target").rglob("*"):
            mode = path.lstat().st_mode
            assert not stat.S_ISBLK(mode)
            assert not stat.S_ISCHR(mode)
            assert stat.S_ISDIR(mode) or not mode & (stat.S_ISUID | stat.S_ISGID)


TRAPS: dict[str, Callable[[Path, Path], None]] = {
    "directory-is-a-link": lambda target, outside: (target / "d").symlink_to(outside),
    "directory-is-a-relative-link": lambda target, outside: (target / "d").symlink_to("../outside"),
    "file-is-a-link": lambda target, outside: (
        (target / "d").mkdir(), (target / "d/precious").symlink_to(outside / "precious")
    )[0],
    "file-is-a-hard-link": lambda target, outside: (
        (target / "d").mkdir(), os.link(outside / "precious", target / "d/precious")
    )[0],
    "file-is-a-fifo": lambda target, outside: ((target / "d").mkdir(), os.mkfifo(target / "d/precious"))[0],
}  # fmt: skip


@pytest.mark.parametrize("overwrite", ["never", "older", "always"])
@pytest.mark.parametrize("trap", TRAPS)
def test_what_lies_in_the_target_leads_nowhere(
    attacked: AttackedVault, trap: str, overwrite: str, outside: Path, tmp_path: Path
) -> None:
    """An honest tree into a target in which somebody left traps."""
    target = tmp_path / "target"
    target.mkdir()
    TRAPS[trap](target, outside)
    before = picture(outside)
    ran = attack(
        attacked,
        lambda small: [directory(b"d"), small(b"d/precious"), directory(b"d/sub"), small(b"d/sub/x")],
        outside, target, "--overwrite", overwrite,
    )  # fmt: skip
    assert ran.code in {0, 3, 5}, ran
    after = picture(outside)
    if trap == "file-is-a-hard-link":
        # Replacing the name in the target takes one link from the file outside; its content stays.
        assert [shown[6] for shown in after.values()] == [shown[6] for shown in before.values()]
    else:
        assert after == before


def test_the_trees_are_enough() -> None:
    assert len(TREES) >= 40
