#!/usr/bin/env python3
"""Restores an exported Muniment vault without Muniment: one file, public libraries, no server.

    restore_export.py EXPORT TARGET [--snapshot ID]

The passphrase or the recovery kit comes from MUNIMENT_PASSPHRASE or MUNIMENT_RECOVERY_KIT, else from the
first line of standard input. Needs Python 3.11 and: argon2-cffi, blake3, cryptography, msgpack or msgspec,
and zstandard, backports.zstd or Python 3.14. Written from docs/design/format.md and export.md alone.

Exit status: 0 restored, 1 not, 3 restored except what is named.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import os
import stat
import sys
import unicodedata
from pathlib import Path

from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

try:
    import msgpack

    def unpackb(content: bytes):
        return msgpack.unpackb(content, strict_map_key=False)

    packb = msgpack.packb
except ImportError:
    from msgspec.msgpack import decode as unpackb
    from msgspec.msgpack import encode as packb

MAX_PLAIN = 8 << 20
LEAF, INTERIOR, EXTENT_LEAF, EXTENT_INTERIOR = range(4)
SEPARATOR = b"\0"
"""Between the names of a key."""
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Broken(Exception):
    """Something is not what it must be. Nothing derived from it is written."""


def demand(condition: object, complaint: str) -> None:
    if not condition:
        raise Broken(complaint)


# --- keys


def hkdf(secret: bytes, salt: bytes, label: str, length: int) -> bytes:
    return HKDF(SHA256(), length, salt or None, b"muniment/1/" + label.encode()).derive(secret)


def open_sealed(aes_key: bytes, sealed: bytes, aad: bytes, what: str) -> bytes:
    demand(len(sealed) >= 28, f"{what} is cut short")
    try:
        return AESGCM(aes_key).decrypt(sealed[:12], sealed[12:], aad)
    except InvalidTag:
        raise Broken(f"{what} fails authentication") from None


def read_kit(text: str) -> tuple[bytes, bytes, bytes]:
    """(vault id, code, pin) of a recovery kit as it was printed."""
    typed = "".join(text.upper().split()).replace("-", "")
    for looks, is_ in (("O", "0"), ("I", "1"), ("L", "1")):
        typed = typed.replace(looks, is_)
    demand(typed.startswith("MUN1K1"), "a recovery kit begins with MUNIK1")
    digits = typed[6:]
    demand(all(digit in ALPHABET for digit in digits), "the recovery kit is mistyped")
    number = 0
    for digit in digits:
        number = number << 5 | ALPHABET.index(digit)
    spare = len(digits) * 5 % 8
    demand(number & ((1 << spare) - 1) == 0, "the recovery kit is mistyped")
    data = (number >> spare).to_bytes(len(digits) * 5 // 8, "big")
    payload, check = data[:-4], data[-4:]
    right = hashlib.sha256(b"MUNIK1" + payload).digest()[:4]
    demand(len(payload) > 82 and check == right, "the recovery kit is mistyped")
    return payload[1:17], payload[17:49], payload[49:65]


def slot_secret(kind: int, parameters: list, secret: str, vault: bytes) -> bytes | None:
    """The 64 bytes that open a slot; None for a slot of another kind."""
    is_kit = secret.upper().replace("-", "").startswith(("MUNIK1", "MUN1K1"))
    if kind == 2 and is_kit:
        kit_vault, code, _ = read_kit(secret)
        demand(kit_vault == vault, "this recovery kit is of another vault")
        return hkdf(code, vault, "slot/kit", 64)
    if kind == 1 and not is_kit:
        salt, memory, passes, lanes = parameters
        usual = 65536 <= memory <= 1 << 20 and 3 <= passes <= 16 and 1 <= lanes <= 8
        demand(usual, "a slot has parameters that no honest client writes")
        text = unicodedata.normalize("NFC", secret).encode()
        stretched = hash_secret_raw(text, salt, passes, memory, lanes, 32, Type.ID)
        return hkdf(stretched, b"", "slot/passphrase", 64)
    return None


def unlock(export: Path, vault: bytes, secret: str) -> dict[int, bytes]:
    """The vault keys by epoch, from the first slot that this secret opens."""
    for path in sorted((export / "slots").iterdir()):
        if path.name == "list" or path.name.startswith("."):
            continue
        version, kind, parameters, commitment, nonce, sealed = unpackb(path.read_bytes())
        demand(version == 1, "a slot is of a newer format")
        opened = slot_secret(kind, parameters, secret, vault)
        if opened is None or not hmac.compare_digest(opened[32:], commitment):
            continue
        aad = b"muniment/1/slot" + vault + bytes.fromhex(path.name) + bytes([kind]) + packb(parameters)
        keys = dict(unpackb(open_sealed(opened[:32], nonce + sealed, aad, "the key slot")))
        fingerprint = hkdf(keys[0], b"", "fingerprint", 32)[:16]
        demand(kind != 2 or read_kit(secret)[2] == fingerprint, "this is not the kit's vault key")
        return keys
    raise Broken("no key slot opens with this passphrase or kit")


def check_slot_list(export: Path, vault: bytes, keys: dict[int, bytes]) -> None:
    signed = unpackb((export / "slots" / "list").read_bytes())
    mac_key = hkdf(keys[max(keys)], b"", "slot-list", 32)
    right = hmac.digest(mac_key, signed["body"], "sha256")
    demand(hmac.compare_digest(right, signed["mac"]), "the slot list is forged")
    body = unpackb(signed["body"])
    demand(body["vault"] == vault.hex(), "the slot list is of another vault")
    for line in body["slots"]:
        path = export / "slots" / line["slot"]
        if path.exists():
            digest = hashlib.sha256(path.read_bytes()).digest()
            demand(digest == line["digest"], f"slot {line['slot']} was replaced")


# --- the vault


def decompress(body: bytes, what: str) -> bytes:
    try:
        from compression import zstd
    except ImportError:
        try:
            from backports import zstd
        except ImportError:
            import zstandard

            size = zstandard.get_frame_parameters(body).content_size
            demand(0 <= size <= MAX_PLAIN, f"{what} states an impossible size")
            return zstandard.ZstdDecompressor().decompress(body, max_output_size=size)
    size = zstd.get_frame_info(body).decompressed_size
    demand(size is not None and size <= MAX_PLAIN, f"{what} states an impossible size")
    content = zstd.decompress(body)
    demand(len(content) == size, f"{what} does not hold what it states")
    return content


class Vault:
    """An unlocked export."""

    def __init__(self, export: Path, secret: str) -> None:
        about = json.loads((export / "vault.json").read_text())
        demand(about["format"] == 1, "this export is of a newer format")
        self.export = export
        self.id = bytes.fromhex(about["vault"])
        self.keys = unlock(export, self.id, secret)
        check_slot_list(export, self.id, self.keys)
        self.chunk_key = hkdf(self.keys[0], b"", "chunk-id", 32)
        self.page_key = hkdf(self.keys[0], b"", "page-id", 32)
        self._pack_keys: dict[bytes, bytes] = {}
        self._last_block: tuple[object, bytes] = (None, b"")

    def head(self, path: Path) -> dict:
        sealed = path.read_bytes()
        demand(hashlib.sha256(sealed).hexdigest() == path.name, f"head {path.name} is not what its name says")
        clear = sealed[:32]
        demand(clear[:9] == b"MUNIHEAD\x01", f"head {path.name} is of a newer format, or none")
        root = hkdf(self.keys[int.from_bytes(clear[12:16], "big")], b"", "head", 32)
        pair = hkdf(root, clear[16:], "head", 64)
        plain = open_sealed(pair[:32], sealed[32:], clear + self.id, f"head {path.name}")
        return unpackb(plain[4 : 4 + int.from_bytes(plain[:4], "big")])

    def block(self, pack: tuple[bytes, int, int], ordinal: int, offset: int, length: int, role: int) -> bytes:
        """The content of one block of pack (id, kind, epoch). The last one is remembered."""
        name = (pack[0], ordinal, role)
        if self._last_block[0] == name:
            return self._last_block[1]
        pack_id, kind, epoch = pack
        what = f"block {ordinal} of pack {pack_id.hex()}"
        if pack_id not in self._pack_keys:
            root = hkdf(self.keys[epoch], b"", "seal-root", 32)
            self._pack_keys[pack_id] = hkdf(root, pack_id, "pack", 64)[:32]
        path = self.export / "packs" / pack_id.hex()[:2] / pack_id.hex()
        if not path.exists():
            # It did not arrive whole. What is whole in it, authentication shows.
            path = path.with_name(f"{path.name}.damaged")
            demand(path.exists(), f"pack {pack_id.hex()} is not in this export")
        with open(path, "rb") as file:
            file.seek(offset)
            sealed = file.read(length)
        aad = b"muniment/1/block\x01" + self.id + bytes([kind, role]) + ordinal.to_bytes(4, "big")
        plain = open_sealed(self._pack_keys[pack_id], sealed, aad, what)
        demand(plain and plain[0] in (0, 1), f"{what} has an unknown codec")
        content = decompress(plain[1:], what) if plain[0] else plain[1:]
        self._last_block = (name, content)
        return content

    def page(self, pack: tuple[bytes, int, int], place: list[int], page_id: bytes, page_type: int) -> list:
        content = self.block(pack, *place, role=1)
        right = blake3(bytes([page_type]) + content, key=self.page_key).digest(16)
        demand(right == page_id, f"page {page_id.hex()} is not what its id says")
        page = unpackb(content)
        demand(page[0] == 1 and page[1] == page_type, f"page {page_id.hex()} is of another type")
        return page

    def extent(self, row: list, packs: list, blocks: list) -> bytes | int:
        """The bytes of an extent `[length, chunk id, block, inner offset]`; of a hole its length."""
        if len(row) == 1:
            return row[0]
        length, chunk, place, inner = row
        pack, *address = blocks[place]
        content = self.block(tuple(packs[pack]), *address, role=0)[inner : inner + length]
        demand(
            len(content) == length and blake3(content, key=self.chunk_key).digest(16) == chunk,
            f"chunk {chunk.hex()} is not what its id says",
        )
        return content

    def leaves(self, pack: list, place: list, page_id: bytes, page_type: int, level: int, lost=None):
        """The leaf pages under a page, in key order.

        A page below it that cannot be read is told to `lost`, with its last key and how many entries are
        under it; without `lost` it ends all.
        """
        page = self.page(tuple(pack), place, page_id, page_type)
        yield from self.leaves_under(page, page_type, level, lost)

    def leaves_under(self, page: list, page_type: int, level: int, lost):
        is_possible = level <= 24 and (level > 0) == (page_type in (INTERIOR, EXTENT_INTERIOR))
        demand(is_possible, "a tree is impossible")
        if level == 0:
            yield page
            return
        below = page_type if level > 1 else page_type - 1
        for last_key, child_level, at, ordinal, offset, length, name, entries, _ in page[3]:
            demand(child_level == level - 1, "a tree is impossible")
            try:
                child = self.page(tuple(page[2][at]), [ordinal, offset, length], name, below)
            except (Broken, OSError) as error:
                if lost is None:
                    raise
                lost(last_key, entries, error)
            else:
                yield from self.leaves_under(child, below, child_level, lost)


# --- writing


def is_there(at: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


class Target:
    """The directory restored into, by descriptors: a path may be longer than the system takes in one piece.

    It was empty, and no link in it is followed: nothing is made outside.
    """

    def __init__(self, vault: Vault, path: Path) -> None:
        self.vault = vault
        path.mkdir(parents=True, exist_ok=True)
        demand(not any(path.iterdir()), f"{path} is not empty")
        self.handle = os.open(path, DIRECTORY & ~os.O_NOFOLLOW)  # whoever names a link means where it leads
        self.key, self.here = b"", []
        self.links: dict[int, tuple[bytes, bytes]] = {}
        self.last: list[tuple[bytes, bytes, list, dict]] = []
        self.notes: list[str] = []
        self.files = self.bytes = 0

    def note(self, directory: bytes, name: bytes, complaint: object) -> None:
        self.notes.append(f"{os.fsdecode(directory.replace(SEPARATOR, b'/') + name)}: {complaint}")

    def lost(self, last_key: bytes, entries: int, error: Exception) -> None:
        directory, _, name = last_key.rpartition(SEPARATOR)
        self.note(directory, name, f"about {entries} entries up to this one are lost: {error}")

    def enter(self, directory: bytes) -> int:
        """A directory by its key, made as far as it is missing; open until another one is entered."""
        if directory == self.key:
            return self.handle
        parts = directory.split(SEPARATOR)
        demand(parts.pop() == b"", f"an unsafe path: {directory!r}")
        for part in parts:
            demand(part not in (b"", b".", b"..") and b"/" not in part, f"an unsafe path: {directory!r}")
        self.key = None  # for as long as it is somewhere between
        common = 0
        while common < min(len(parts), len(self.here)) and parts[common] == self.here[common]:
            common += 1
        while len(self.here) > common:
            self.step(b"..")
            self.here.pop()
        for part in parts[common:]:
            try:
                self.step(part)
            except FileNotFoundError:
                os.mkdir(part, 0o700, dir_fd=self.handle)
                self.step(part)
            self.here.append(part)
        self.key = directory
        return self.handle

    def step(self, part: bytes) -> None:
        before, self.handle = self.handle, os.open(part, DIRECTORY, dir_fd=self.handle)
        os.close(before)

    def restore_leaf(self, page: list) -> None:
        _, _, packs, blocks, owners, runs = page
        for directory, _, *columns, extras in runs:
            for number, row in enumerate(zip(*columns, strict=True)):
                try:
                    self.restore(directory, row, owners, extras.get(number, {}), packs, blocks)
                except (Broken, OSError) as error:
                    self.note(directory, row[0], error)

    def restore(
        self, directory: bytes, row: tuple, owners: list, extra: dict, packs: list, blocks: list
    ) -> None:
        name, mode, size, mtime, _, _, owner, contents = row
        is_safe = name not in (b"", b".", b"..") and b"/" not in name and SEPARATOR not in name
        demand(is_safe, f"an unsafe name: {name!r}")
        kind, entry = stat.S_IFMT(mode), [mode, mtime, owners[owner]]
        xattrs = {
            attribute: value if isinstance(value, bytes) else b"".join(self.pieces(value, packs, blocks))
            for attribute, value in extra.get(3, [])
        }
        group = extra.get(4, 0)
        if group and group in self.links:
            self.link(self.links[group], directory, name)
            return
        at = self.enter(directory)
        if kind == stat.S_IFDIR:
            os.mkdir(name, 0o700, dir_fd=at)
            self.last.append((directory, name, entry, xattrs))
            return
        if kind == stat.S_IFREG:
            demand(contents is not None or size == 0, "its content was never read")
            self.write(at, name, size, self.pieces(contents, packs, blocks))
            self.files += 1
            self.bytes += size
        elif kind == stat.S_IFLNK:
            os.symlink(extra[1], name, dir_fd=at)
        elif kind == stat.S_IFIFO:
            os.mkfifo(name, 0o600, dir_fd=at)
        else:
            self.note(directory, name, "sockets and devices are not made")
            return
        if group:
            self.links[group] = (directory, name)
        self.describe(directory, name, entry, xattrs)

    def link(self, first: tuple[bytes, bytes], directory: bytes, name: bytes) -> None:
        """One more name of a file that is there."""
        source = os.dup(self.enter(first[0]))
        try:
            at = self.enter(directory)
            os.link(first[1], name, src_dir_fd=source, dst_dir_fd=at, follow_symlinks=False)
        finally:
            os.close(source)

    def write(self, at: int, name: bytes, size: int, pieces) -> None:
        """A file appears under its name only when all of its content has been verified."""
        partial = b".restoring-%d" % os.getpid()
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=at)
        try:
            offset = 0
            for piece in pieces:
                if isinstance(piece, bytes):
                    os.pwrite(handle, piece, offset)
                offset += piece if isinstance(piece, int) else len(piece)
            demand(offset == size, "its content has another size")
            os.ftruncate(handle, size)
            demand(not is_there(at, name), "it exists already")
            os.rename(partial, name, src_dir_fd=at, dst_dir_fd=at)
        except BaseException:
            os.unlink(partial, dir_fd=at)
            raise
        finally:
            os.close(handle)

    def pieces(self, contents: list | dict | None, packs: list, blocks: list):
        if isinstance(contents, dict):
            pack, ordinal, offset, length, name, page_type, level, *_ = contents[0]
            for page in self.vault.leaves(packs[pack], [ordinal, offset, length], name, page_type, level):
                for _, *row in page[4]:
                    yield self.vault.extent(row, page[2], page[3])
            return
        for row in contents or []:
            yield self.vault.extent(row, packs, blocks)

    def describe(self, directory: bytes, name: bytes, entry: list, xattrs: dict[bytes, bytes]) -> None:
        """Owner, attributes, mode, time, in this order; what the system refuses is noted."""
        at, (mode, mtime, (uid, gid, _, _)) = self.enter(directory), entry
        # Attributes have no call that is relative to a directory.
        path = b"/proc/self/fd/%d/" % at + name
        own = {"dir_fd": at, "follow_symlinks": False}
        steps = [lambda: os.chown(name, uid, gid, **own)] if os.geteuid() == 0 else []
        for attribute, value in xattrs.items():
            steps.append(lambda a=attribute, v=value: os.setxattr(path, a, v, follow_symlinks=False))
        if not stat.S_ISLNK(mode):
            steps.append(lambda: os.chmod(name, stat.S_IMODE(mode) & 0o1777, dir_fd=at))
        steps.append(lambda: os.utime(name, ns=(mtime, mtime), **own))
        for step in steps:
            try:
                step()
            except OSError as error:
                self.note(directory, name, f"not all of its metadata could be set: {error.strerror}")

    def finish(self) -> None:
        """Directories last: what is put into one changes its time, and may need more than its mode allows."""
        for directory, name, entry, xattrs in reversed(self.last):
            try:
                self.describe(directory, name, entry, xattrs)
            except OSError as error:
                self.note(directory, name, f"its metadata could not be set: {error.strerror}")
        os.close(self.handle)


def choose_head(vault: Vault, wanted: str | None) -> dict:
    # Names that begin with a dot are what an interrupted export left.
    paths = [path for path in (vault.export / "heads").iterdir() if not path.name.startswith(".")]
    paths = [path for path in paths if path.name.startswith(wanted or "")]
    heads = [vault.head(path) for path in paths]
    demand(heads, "no snapshot has this id")
    demand(wanted is None or len(heads) == 1, "several snapshots have ids that begin so")
    complete = [head for head in heads if not head["partial"]] or heads
    return max(complete, key=lambda head: head["ended_ns"])


def restore_export(export: Path, target: Path, secret: str, wanted: str | None) -> int:
    vault = Vault(export, secret)
    head = choose_head(vault, wanted)
    place = Target(vault, target)
    try:
        if head["root"] is not None:
            pack, kind, epoch, *address, page_id, page_type, level, _, _, _ = head["root"]
            root = ([pack, kind, epoch], address, page_id, page_type, level)
            for leaf in vault.leaves(*root, lost=place.lost):
                place.restore_leaf(leaf)
    finally:
        place.finish()
        for note in place.notes:
            print(note, file=sys.stderr)
    print(json.dumps({"files": place.files, "bytes": place.bytes, "errors": len(place.notes)}))
    return 3 if place.notes else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Restore an exported Muniment vault without Muniment.")
    parser.add_argument("export", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--snapshot", help="the beginning of a snapshot's id; the newest one if left out")
    arguments = parser.parse_args()
    given = os.environ.get("MUNIMENT_RECOVERY_KIT") or os.environ.get("MUNIMENT_PASSPHRASE")
    secret = given or sys.stdin.readline().rstrip("\n")
    try:
        return restore_export(arguments.export, arguments.target, secret, arguments.snapshot)
    except (Broken, OSError, KeyError, ValueError, TypeError) as error:
        print(f"cannot restore: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
