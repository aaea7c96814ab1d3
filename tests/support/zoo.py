"""A fixed zoo: everything a file system may hold that is easy to lose, made with plain system calls."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import stat
import struct
from collections.abc import Iterator

_NAMES = [
    b"plain", b"with space", b"-leading-dash", b"line\nbreak", b"tab\there", b"back\\slash", b'quote"s',
    b"caf\xc3\xa9", b"cafe\xcc\x81", b"caf\xe9 in latin-1", b"\xff\xfe\x01", b"\x01", b"~", b"*", b"[a]",
    b"%s%d",
    b"n" * 255, b".hidden", b"...", b"CON", b"trailing.", b"\xe2\x80\xaeright-to-left",
]  # fmt: skip
_DEEP = 30
_DEEP_NAME = b"d" * 200


class ZooNotPossible(Exception):
    """This file system or machine cannot hold what every zoo has; a lesser one would prove less."""


def build_zoo(root: bytes, *, seed: int = 1) -> None:
    """Fill the empty directory `root`; ZooNotPossible where extended attributes or ACLs cannot be made.

    Only root can make devices and other people's files, so only root's zoo has them.
    """
    noise = random.Random(seed)
    _names(root)
    _sizes(root, noise)
    _sparse(root, noise)
    _links(root)
    _hard_links(root)
    _modes(root)
    _times(root)
    _specials(root)
    _deep(root)
    if os.geteuid() == 0:
        _devices(root)
        _owners(root)
    _xattrs(root)
    _acls(root)
    _age(root)


def _put(path: bytes, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def _directory(root: bytes, name: bytes) -> bytes:
    path = os.path.join(root, name)
    os.mkdir(path)
    return path


def _names(root: bytes) -> None:
    home = _directory(root, b"names")
    for number, name in enumerate(_NAMES):
        _put(os.path.join(home, name), b"%d" % number)
        _put(os.path.join(_directory(home, b"d" + name[:254]), name), b"below %d" % number)


def _sizes(root: bytes, noise: random.Random) -> None:
    home = _directory(root, b"sizes")
    for size in (0, 1, 4095, 4096, 524_287, 524_288, 524_289, 1 << 20, 5_000_003):
        _put(os.path.join(home, b"%d" % size), noise.randbytes(size))
    _put(os.path.join(home, b"zeros"), bytes(1 << 20))
    _put(os.path.join(home, b"text"), b"all work and no play\n" * 100_000)
    _directory(home, b"empty")
    for number in range(300):
        _put(os.path.join(home, b"small-%d" % number), noise.randbytes(number * 17))


def _sparse(root: bytes, noise: random.Random) -> None:
    home = _directory(root, b"sparse")
    layouts = {
        b"all-hole": (8 << 20, []),
        b"leading": (8 << 20, [(7 << 20, 65536)]),
        b"trailing": (8 << 20, [(0, 65536)]),
        b"middle": (64 << 20, [(0, 4096), (32 << 20, 700_000), (60 << 20, 4096)]),
        b"comb": (32 << 20, [(place * (256 << 10), 4096) for place in range(100)]),
    }
    for name, (size, parts) in layouts.items():
        with open(os.path.join(home, name), "wb") as file:
            file.truncate(size)
            for offset, length in parts:
                file.seek(offset)
                file.write(noise.randbytes(length))


def _links(root: bytes) -> None:
    home = _directory(root, b"links")
    for name, target in {
        b"relative": b"../names/plain",
        b"absolute": b"/etc/passwd",
        b"dangling": b"nowhere/at all",
        b"directory": b"../names",
        b"loop": b"loop",
        b"dots": b"../../..",
        b"bytes": b"\xff\xfe",
        b"long": b"x/" * 1000 + b"y",
    }.items():
        os.symlink(target, os.path.join(home, name))
        os.utime(os.path.join(home, name), ns=(1, 1_234_567_890_123_456_789), follow_symlinks=False)


def _hard_links(root: bytes) -> None:
    home = _directory(root, b"hard")
    other = _directory(home, b"other")
    _put(os.path.join(home, b"first"), b"one file with three names")
    os.link(os.path.join(home, b"first"), os.path.join(home, b"second"))
    os.link(os.path.join(home, b"first"), os.path.join(other, b"third"))
    _put(os.path.join(home, b"empty"), b"")
    os.link(os.path.join(home, b"empty"), os.path.join(other, b"also-empty"))
    os.symlink(b"target", os.path.join(home, b"link"))
    os.link(os.path.join(home, b"link"), os.path.join(other, b"same-link"), follow_symlinks=False)
    os.mkfifo(os.path.join(home, b"fifo"))
    os.link(os.path.join(home, b"fifo"), os.path.join(other, b"same-fifo"))
    big = os.path.join(home, b"big")
    _put(big, random.Random(7).randbytes(3 << 20))
    os.link(big, os.path.join(other, b"big"))


def _modes(root: bytes) -> None:
    home = _directory(root, b"modes")
    for mode in (0o000, 0o400, 0o444, 0o600, 0o644, 0o666, 0o755, 0o777, 0o1644, 0o111):
        path = os.path.join(home, b"file-%04o" % mode)
        _put(path, b"%o" % mode)
        if mode & 0o400 or os.geteuid() == 0:
            os.chmod(path, mode)
        inside = _directory(home, b"dir-%04o" % mode)
        _put(os.path.join(inside, b"inside"), b"x")
        if mode & 0o500 == 0o500 or os.geteuid() == 0:
            os.chmod(inside, mode)
    shared = _directory(home, b"setgid-directory")
    os.chmod(shared, 0o2775)
    sticky = _directory(home, b"sticky-directory")
    os.chmod(sticky, 0o1777)


def set_id_files(root: bytes) -> list[bytes]:
    """Add files with set-id bits, which only `--special` restores; returns their paths below `root`."""
    home = _directory(root, b"set-id")
    made = []
    for mode in (0o4755, 0o2755, 0o6711):
        path = os.path.join(home, b"%04o" % mode)
        _put(path, b"#!")
        os.chmod(path, mode)
        made.append(os.path.relpath(path, root))
    return made


def _times(root: bytes) -> None:
    home = _directory(root, b"times")
    for number, moment in enumerate((
        0, 1, 999_999_999, 1_000_000_000_000_000_001, -1, -1_500_000_000, 4_294_967_296_000_000_007,
    )):  # fmt: skip
        path = os.path.join(home, b"file-%d" % number)
        _put(path, b"x")
        os.utime(path, ns=(moment, moment))
        inside = _directory(home, b"dir-%d" % number)
        _put(os.path.join(inside, b"y"), b"y")
        os.utime(inside, ns=(moment, moment))


def _specials(root: bytes) -> None:
    home = _directory(root, b"special")
    os.mkfifo(os.path.join(home, b"fifo"), 0o640)
    path = os.path.join(home, b"socket")
    if len(path) < 100:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
            listener.bind(path)


def _deep(root: bytes) -> None:
    """A path beyond PATH_MAX, built and left step by step."""
    fd = os.open(_directory(root, b"deep"), os.O_RDONLY)
    for _ in range(_DEEP):
        os.mkdir(_DEEP_NAME, dir_fd=fd)
        deeper = os.open(_DEEP_NAME, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    with os.fdopen(os.open(b"treasure", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd), "wb") as file:
        file.write(b"six thousand bytes down")
    os.close(fd)


def _devices(root: bytes) -> None:
    home = os.path.join(root, b"special")
    with contextlib.suppress(PermissionError):  # root of a container may not
        os.mknod(os.path.join(home, b"null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.mknod(os.path.join(home, b"block"), stat.S_IFBLK | 0o600, os.makedev(7, 200))


def _owners(root: bytes) -> None:
    home = _directory(root, b"owners")
    for uid, gid in ((12345, 23456), (0, 23456), (65534, 65534)):
        path = os.path.join(home, b"%d-%d" % (uid, gid))
        _put(path, b"owned")
        os.chown(path, uid, gid)
        inside = _directory(home, b"dir-%d-%d" % (uid, gid))
        os.chown(inside, uid, gid)
    link = os.path.join(home, b"link")
    os.symlink(b"x", link)
    os.chown(link, 12345, 23456, follow_symlinks=False)


@contextlib.contextmanager
def _or_not_possible(what: str, root: bytes) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ZooNotPossible(
            f"{what} cannot be made in {os.fsdecode(root)}: {error.strerror};"
            " point TMPDIR or --basetemp to a file system that holds them"
        ) from error


def _xattrs(root: bytes) -> None:
    home = _directory(root, b"xattrs")
    path = os.path.join(home, b"file")
    _put(path, b"attributed")
    with _or_not_possible("extended attributes", root):
        os.setxattr(path, b"user.text", b"value")
    os.setxattr(path, b"user.empty", b"")
    os.setxattr(path, b"user.caf\xc3\xa9", bytes(range(256)))
    os.setxattr(home, b"user.on-directory", b"yes")
    read_only = os.path.join(home, b"read-only")
    _put(read_only, b"x")
    os.setxattr(read_only, b"user.kept", b"though read-only")
    os.chmod(read_only, 0o444)
    with contextlib.suppress(OSError):  # ext4 without ea_inode takes no value of this size
        os.setxattr(path, b"user.large", random.Random(3).randbytes(20_000))
    if os.geteuid() == 0:
        link = os.path.join(home, b"link")
        os.symlink(b"nowhere", link)
        with contextlib.suppress(OSError):
            os.setxattr(link, b"trusted.on-link", b"yes", follow_symlinks=False)


def _acls(root: bytes) -> None:
    home = _directory(root, b"acls")
    path = os.path.join(home, b"file")
    _put(path, b"listed")
    # acl(5) in its xattr form: version 2, then (tag, permissions, id): owner, user 0, group, mask, other.
    entries = [(1, 6, -1), (2, 7, 0), (4, 4, -1), (0x10, 7, -1), (0x20, 0, -1)]
    value = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, permissions, who & 0xFFFFFFFF) for tag, permissions, who in entries
    )
    inside = _directory(home, b"inheriting")
    with _or_not_possible("access control lists", root):
        os.setxattr(path, b"system.posix_acl_access", value)
        os.setxattr(inside, b"system.posix_acl_default", value)
        os.setxattr(inside, b"system.posix_acl_access", value)


def _age(root: bytes) -> None:
    """Give the directories that the builders touched last a time that no restore makes by chance."""
    for number, name in enumerate(sorted(os.listdir(root))):
        os.utime(os.path.join(root, name), ns=(0, 1_500_000_000_000_000_000 + number))
