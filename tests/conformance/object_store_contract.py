"""What every object store must do. Subclass it with a fixture `objects` that makes an empty store."""

from __future__ import annotations

import hashlib
import secrets
import threading

import pytest

from muniment.server.store.port import (
    ObjectExists,
    ObjectMissing,
    ObjectStore,
    StoredObject,
    fresh_key,
    read_object,
)

MIB = 1 << 20


def key() -> str:
    return fresh_key("ab" * 16, "packs")


class ObjectStoreContract:
    @pytest.fixture
    def objects(self) -> ObjectStore:
        raise NotImplementedError

    def test_gives_back_what_was_put(self, objects: ObjectStore) -> None:
        for content in (b"", b"x", secrets.token_bytes(3 * MIB + 17)):
            name = key()
            objects.put(name, content)
            assert read_object(objects, name) == content

    def test_a_streamed_object_appears_only_when_published(self, objects: ObjectStore) -> None:
        name, content = key(), secrets.token_bytes(2 * MIB)
        writer = objects.begin(name, size=len(content))
        writer.write([content[:MIB]])
        with pytest.raises(ObjectMissing):
            objects.open(name)
        assert list(objects.list("")) == []
        writer.write([content[MIB : MIB + 5], content[MIB + 5 :]])
        writer.publish()
        assert read_object(objects, name) == content

    def test_many_small_pieces(self, objects: ObjectStore) -> None:
        pieces = [bytes([number % 256]) * (number % 7) for number in range(5000)]
        name = key()
        writer = objects.begin(name, size=sum(map(len, pieces)))
        writer.write(pieces)
        writer.publish()
        assert read_object(objects, name) == b"".join(pieces)

    def test_an_object_shorter_than_expected_has_its_own_size(self, objects: ObjectStore) -> None:
        name = key()
        writer = objects.begin(name, size=MIB)
        writer.write([b"short"])
        writer.publish()
        assert objects.open(name).size == 5

    def test_discarding_leaves_nothing(self, objects: ObjectStore) -> None:
        name = key()
        writer = objects.begin(name, size=10)
        writer.write([b"0123"])
        writer.discard()
        writer.discard()
        assert list(objects.list("")) == []
        with pytest.raises(ObjectMissing):
            objects.open(name)

    def test_discarding_after_publishing_keeps_the_object(self, objects: ObjectStore) -> None:
        name = key()
        writer = objects.begin(name, size=2)
        writer.write([b"ok"])
        writer.publish()
        writer.discard()
        assert read_object(objects, name) == b"ok"

    def test_a_key_is_used_once(self, objects: ObjectStore) -> None:
        name = key()
        objects.put(name, b"first")
        with pytest.raises(ObjectExists):
            objects.put(name, b"second")
        assert read_object(objects, name) == b"first"

    def test_of_many_at_once_one_wins(self, objects: ObjectStore) -> None:
        name = key()
        won: list[int] = []

        def compete(number: int) -> None:
            try:
                objects.put(name, bytes([number]) * 100)
            except ObjectExists:
                return
            won.append(number)

        threads = [threading.Thread(target=compete, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert read_object(objects, name) == bytes(won) * 100

    def test_reads_ranges(self, objects: ObjectStore) -> None:
        content = secrets.token_bytes(300_000)
        name = key()
        objects.put(name, content)
        reader = objects.open(name)
        try:
            for offset, length in ((0, 1), (65_536, 65_536), (299_999, 10), (300_000, 10), (0, 300_000)):
                assert reader.read(offset=offset, length=length) == content[offset : offset + length]
        finally:
            reader.close()

    def test_a_reader_survives_deletion(self, objects: ObjectStore) -> None:
        content = secrets.token_bytes(100_000)
        name = key()
        objects.put(name, content)
        reader = objects.open(name)
        try:
            objects.delete(name)
            assert (
                hashlib.sha256(reader.read(offset=0, length=100_000)).digest()
                == hashlib.sha256(content).digest()
            )
        finally:
            reader.close()

    def test_deletes_for_good_and_twice(self, objects: ObjectStore) -> None:
        name = key()
        objects.put(name, b"gone soon")
        objects.delete(name)
        objects.delete(name)
        with pytest.raises(ObjectMissing):
            objects.open(name)
        assert list(objects.list("")) == []

    def test_lists_by_prefix_with_sizes(self, objects: ObjectStore) -> None:
        expected = []
        for vault in ("aa" * 16, "bb" * 16):
            for size in (1, 20, 300):
                name = fresh_key(vault, "packs")
                objects.put(name, bytes(size))
                expected.append(StoredObject(name, size))
        assert sorted(objects.list(""), key=lambda item: item.key) == sorted(
            expected, key=lambda item: item.key
        )
        mine = [item for item in expected if item.key.startswith("bb")]
        assert sorted(objects.list("bb" * 16 + "/"), key=lambda item: item.key) == sorted(
            mine, key=lambda i: i.key
        )

    def test_removes_all_of_a_folder_and_nothing_beside_it(self, objects: ObjectStore) -> None:
        mine = [fresh_key("ab" * 16, kind) for kind in ("packs", "packs", "heads")]
        others = [fresh_key("ab" * 15 + "ac", "packs"), fresh_key("cd" * 16, "packs")]
        for name in (*mine, *others):
            objects.put(name, b"x")
        assert objects.remove_all("ab" * 16) == 3
        assert objects.remove_all("ab" * 16) == 0
        assert sorted(item.key for item in objects.list("")) == sorted(others)
        objects.put(mine[0], b"again")
        assert read_object(objects, mine[0]) == b"again"

    def test_what_is_there_can_be_made_durable_again(self, objects: ObjectStore) -> None:
        name = key()
        objects.put(name, b"once more")
        objects.sync(name)
        assert read_object(objects, name) == b"once more"
        with pytest.raises(ObjectMissing):
            objects.sync(key())

    def test_refuses_keys_that_are_not_ours(self, objects: ObjectStore) -> None:
        for name in ("", "/etc/passwd", "../x", "a/../b", "a//b", ".incoming/x", "a/B", "a\0b", "a/"):
            with pytest.raises(ValueError):
                objects.put(name, b"")

    def test_probe_leaves_nothing(self, objects: ObjectStore) -> None:
        objects.probe()
        assert list(objects.list("")) == []
