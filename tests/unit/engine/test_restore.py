"""Restoring what was archived: everything comes back, and nothing is replaced unasked."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import muniment.engine.restore as restore_module
from muniment.engine.plan_restore import RestoreRequest, plan_restore
from muniment.engine.ports import Overwrite, Problem, Special
from muniment.model.errors import Interrupted, Outcome, TargetFull, UsageError
from muniment.model.packs import PackKind
from tests.support.compare import Leniency, differences, snapshot_of
from tests.support.memory_vault import MemoryPages
from tests.support.restoring import PackBytes, restore_into
from tests.support.zoo import build_zoo, set_id_files
from tests.unit.engine.conftest import Bench

SOCKETS = frozenset({stat.S_IFSOCK})


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("zoo") / "z"
    root.mkdir()
    build_zoo(bytes(root))
    return root


@pytest.fixture
def home(tmp_path: Path) -> Bench:
    root = tmp_path / "machine" / "home"
    root.mkdir(parents=True)
    return Bench(root)


def fill(root: Path) -> None:
    (root / "a").mkdir()
    (root / "a" / "one").write_text("first")
    (root / "a" / "two").write_text("second")
    (root / "b").mkdir()
    (root / "b" / "empty").mkdir()
    (root / "b" / "link").symlink_to("../a/one")
    (root / "top").write_bytes(os.urandom(1_500_000))


def restored(bench: Bench, target: Path, **request: object):  # type: ignore[no-untyped-def]
    assert bench.last is not None
    return restore_into(target, bench.last.root, keys=bench.keys, source=bench.vault, **request)


def test_the_zoo_comes_back_alive(zoo: Path, tmp_path: Path) -> None:
    bench = Bench(zoo)
    bench.back_up()
    report, problems = restored(bench, tmp_path / "out", special=Special.RESTORE)
    below = os.path.join(os.fsencode(tmp_path), b"out")
    assert differences(bytes(zoo.parent), below, allow=Leniency(missing=SOCKETS)) == []
    assert report.outcome is Outcome.DONE
    assert set(problems.values()) <= {Problem.UNSUPPORTED}
    assert os.listdir(below) == [b"z"]


def test_set_id_bits_and_devices_need_to_be_asked_for(home: Bench, tmp_path: Path) -> None:
    paths = set_id_files(bytes(home.root))
    home.back_up()
    report, problems = restored(home, tmp_path / "out")
    for path in paths:
        assert not os.stat(tmp_path / "out" / "home" / os.fsdecode(path)).st_mode & 0o6000
        assert problems[b"home/" + path] is Problem.SKIPPED
    assert report.errors == 0
    assert differences(bytes(home.root.parent), bytes(tmp_path / "out"), allow=Leniency(set_id=True)) == []
    restored(home, tmp_path / "all", special=Special.RESTORE)
    assert differences(bytes(home.root.parent), bytes(tmp_path / "all")) == []


def test_one_path_lands_by_its_last_component(home: Bench, tmp_path: Path) -> None:
    fill(home.root)
    home.back_up()
    report, _ = restored(home, tmp_path / "file", under=b"/home/a/two")
    assert (tmp_path / "file" / "two").read_text() == "second"
    assert (report.files, report.directories) == (1, 0)
    restored(home, tmp_path / "directory", under=b"home/b/")
    assert differences(bytes(home.root / "b"), bytes(tmp_path / "directory" / "b")) == []
    assert os.listdir(tmp_path / "directory") == ["b"]
    with pytest.raises(UsageError):
        restored(home, tmp_path / "none", under=b"home/c")


def test_what_was_there_stays_unless_asked(home: Bench, tmp_path: Path) -> None:
    fill(home.root)
    home.back_up()
    out = tmp_path / "out"
    (out / "home" / "a").mkdir(parents=True)
    (out / "home" / "a" / "one").write_text("mine")
    os.chmod(out / "home" / "a", 0o711)
    (out / "home" / "b").write_text("a file where a directory should be")
    before = snapshot_of(bytes(out))
    report, problems = restored(home, out)
    after = snapshot_of(bytes(out))
    assert after[bytes(out / "home" / "a" / "one")] == before[bytes(out / "home" / "a" / "one")]
    assert after[bytes(out / "home" / "b")] == before[bytes(out / "home" / "b")]
    assert stat.S_IMODE(os.stat(out / "home" / "a").st_mode) == 0o711
    assert problems[b"home/a/one"] is Problem.EXISTS
    assert problems[b"home/b"] is Problem.EXISTS
    assert (out / "home" / "a" / "two").read_text() == "second"
    # `b` itself was left alone as asked; what should have been in it is missing, and said to be.
    assert (report.kept, report.errors) == (2, 2)
    restored(home, out, overwrite=Overwrite.ALWAYS)
    assert differences(bytes(home.root.parent), bytes(out)) == []


def test_older_files_are_replaced_and_newer_ones_kept(home: Bench, tmp_path: Path) -> None:
    fill(home.root)
    os.utime(home.root / "a" / "one", ns=(10**18, 10**18))
    os.utime(home.root / "a" / "two", ns=(10**18, 10**18))
    home.back_up()
    here = tmp_path / "out" / "home" / "a"
    here.mkdir(parents=True)
    for name, moment in (("one", 10**18 - 1), ("two", 10**18 + 1)):
        (here / name).write_text("mine")
        os.utime(here / name, ns=(moment, moment))
    report, problems = restored(home, tmp_path / "out", overwrite=Overwrite.OLDER)
    assert (here / "one").read_text() == "first"
    assert (here / "two").read_text() == "mine"
    assert problems == {b"home/a/two": Problem.EXISTS}
    assert report.errors == 0


def test_a_directory_in_the_way_of_a_file_goes_only_when_empty(home: Bench, tmp_path: Path) -> None:
    fill(home.root)
    home.back_up()
    out = tmp_path / "out"
    (out / "home" / "a" / "one").mkdir(parents=True)
    (out / "home" / "a" / "two" / "precious").mkdir(parents=True)
    report, problems = restored(home, out, overwrite=Overwrite.ALWAYS)
    assert (out / "home" / "a" / "one").read_text() == "first"
    assert (out / "home" / "a" / "two" / "precious").is_dir()
    assert problems == {b"home/a/two": Problem.WRITE}
    assert report.outcome is Outcome.INCOMPLETE


def test_what_exists_is_not_fetched_again(home: Bench, tmp_path: Path) -> None:
    (home.root / "big").write_bytes(os.urandom(3_000_000))
    home.back_up()
    restored(home, tmp_path / "out")
    home.vault.reads.clear()
    report, _ = restored(home, tmp_path / "out")
    assert report.kept == 1
    assert sum(length for _, _, length in home.vault.reads) < 300_000


def test_small_batches_give_the_same_tree(
    home: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(home.root)
    for number in range(40):
        (home.root / "a" / f"d{number}").mkdir()
        (home.root / "a" / f"d{number}" / "file").write_text(str(number))
    os.link(home.root / "a" / "one", home.root / "b" / "other-name")
    home.back_up()
    for module_limit in (1, 3, 17):
        monkeypatch.setattr(restore_module, "BATCH_OBJECTS", module_limit)
        monkeypatch.setattr("muniment.engine.pieces._WINDOW_PIECES", 2)
        restored(home, tmp_path / str(module_limit))
        assert differences(bytes(home.root.parent), bytes(tmp_path / str(module_limit))) == []


def test_directories_too_many_to_remember_are_read_again(
    home: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(home.root)
    for number in range(300):
        (home.root / f"d{number}").mkdir(mode=0o750)
        os.utime(home.root / f"d{number}", ns=(number, number))
    os.utime(home.root, ns=(5, 5))
    home.back_up()
    monkeypatch.setattr("muniment.engine.restored_metadata._REMEMBERED", 10)
    restored(home, tmp_path / "out")
    assert differences(bytes(home.root.parent), bytes(tmp_path / "out")) == []
    restored(home, tmp_path / "part", under=b"home/d7")
    assert differences(bytes(home.root / "d7"), bytes(tmp_path / "part" / "d7")) == []


def test_a_damaged_pack_costs_only_its_files(home: Bench, tmp_path: Path) -> None:
    for number in range(6):
        (home.root / f"file-{number}").write_bytes(os.urandom(5_000_000))
    (home.root / "small").write_text("small")
    home.back_up()
    packs = {pack: content for pack, (_, content) in home.vault.packs.items()}
    victim = max(home.vault.of_kind(PackKind.DATA), key=lambda pack: len(packs[pack]))
    packs[victim] = b"\0" * len(packs[victim])
    assert home.last is not None
    report, problems = restore_into(tmp_path / "out", home.last.root, keys=home.keys, source=PackBytes(packs))
    assert report.damaged_packs == {victim}
    assert report.outcome is Outcome.INTEGRITY
    assert set(problems.values()) == {Problem.DAMAGED}
    assert report.errors == len(problems) == report.integrity
    lost = {path.rpartition(b"/")[2].decode() for path in problems}
    assert 0 < len(lost) < 6
    out = tmp_path / "out" / "home"
    assert {entry.name for entry in home.root.iterdir()} - {entry.name for entry in out.iterdir()} == lost
    for entry in out.iterdir():
        assert entry.read_bytes() == (home.root / entry.name).read_bytes()
    missing = {pack: content for pack, content in packs.items() if pack != victim}
    again, _ = restore_into(tmp_path / "gone", home.last.root, keys=home.keys, source=PackBytes(missing))
    assert again.damaged_packs == {victim}
    assert again.errors == report.errors


def test_a_cut_pack_still_gives_what_is_left_of_it(home: Bench, tmp_path: Path) -> None:
    for number in range(8):
        (home.root / f"file-{number}").write_bytes(os.urandom(500_000))
    home.back_up()
    packs = {pack: content for pack, (_, content) in home.vault.packs.items()}
    victim = max(home.vault.of_kind(PackKind.DATA, PackKind.MIXED), key=lambda pack: len(packs[pack]))
    packs[victim] = packs[victim][: 2 << 20]
    assert home.last is not None
    report, _ = restore_into(
        tmp_path / "out",
        home.last.root,
        keys=home.keys,
        source=PackBytes(packs),
        pages=home.pages,  # its pages lay in the same pack
    )
    assert 0 < report.errors < 8
    assert report.files == 8 - report.errors


def test_a_bad_page_cache_is_passed_over(home: Bench, tmp_path: Path) -> None:
    fill(home.root)
    home.back_up()
    cache = MemoryPages()
    cache.pages = {page: b"\x96" + content[1:-1] + b"!" for page, content in home.pages.pages.items()}
    assert home.last is not None
    report, _ = restore_into(tmp_path / "out", home.last.root, keys=home.keys, source=home.vault, pages=cache)
    assert report.outcome is Outcome.DONE
    assert differences(bytes(home.root.parent), bytes(tmp_path / "out")) == []


def test_stopping_leaves_whole_files_only(
    home: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(60):
        (home.root / f"file-{number:02}").write_bytes(os.urandom(100_000))
    home.back_up()
    monkeypatch.setattr("muniment.engine.pieces._WINDOW_PIECES", 5)
    asked = iter([False] * 6 + [True] * 100)
    with pytest.raises(Interrupted):
        restored(home, tmp_path / "out", stop=lambda: next(asked))
    there = list((tmp_path / "out" / "home").iterdir())
    assert 0 < len(there) < 60
    for entry in there:
        assert entry.read_bytes() == (home.root / entry.name).read_bytes()
    assert os.listdir(tmp_path / "out") == ["home"]
    report, _ = restored(home, tmp_path / "out")
    assert report.kept == len(there)
    assert len(list((tmp_path / "out" / "home").iterdir())) == 60


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of four MiB; where none can be mounted, the test must be run by root."""
    place = tmp_path / "tiny"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", place], capture_output=True)
    if mounted.returncode:
        # Without the right to mount, a limit on the size of files stops the disk just as well.
        previous = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, previous[1]))
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        yield place
        resource.setrlimit(resource.RLIMIT_FSIZE, previous)
        signal.signal(signal.SIGXFSZ, ignored)
        return
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_target_keeps_nothing_by_halves(home: Bench, tiny: Path) -> None:
    (home.root / "large").write_bytes(os.urandom(9_000_000))
    (home.root / "small").write_text("fits")
    home.back_up()
    try:
        _, problems = restored(home, tiny)
    except TargetFull:
        assert os.listdir(tiny) == []
    else:
        assert problems == {b"home/large": Problem.WRITE}
        assert os.listdir(tiny / "home") == ["small"]


def test_a_target_that_cannot_be_written_is_refused(home: Bench, tmp_path: Path) -> None:
    fill(home.root)
    home.back_up()
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(TargetFull, match="file"):
        restored(home, tmp_path / "file")
    with pytest.raises(TargetFull):
        restored(home, Path("/proc/muniment-cannot-be-here"))


def test_the_plan_tells_what_the_restore_then_does(home: Bench, tmp_path: Path) -> None:
    fill(home.root)
    os.link(home.root / "top", home.root / "b" / "top-again")
    home.back_up()
    assert home.last is not None
    plan = plan_restore(RestoreRequest(root=home.last.root), keys=home.keys, source=home.vault)
    report, _ = restored(home, tmp_path / "out")
    assert (plan.files, plan.directories, plan.others) == (report.files, report.directories, report.others)
    assert plan.content == report.bytes
    assert plan.packs == set(home.vault.of_kind(PackKind.DATA, PackKind.MIXED))
    assert plan.read_bytes < home.vault.stored_bytes
    assert not plan.lost


def test_a_stopped_restore_is_taken_up_by_the_next(
    home: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        place = home.root / f"d{number:02}" / "inner"
        place.mkdir(parents=True)
        for name in "abc":
            (place / name).write_text(f"{number}{name}")
        os.chmod(place, 0o555)
        os.utime(place, ns=(1, number))
        os.utime(place.parent, ns=(1, number))
    os.utime(home.root, ns=(1, 12345))
    home.back_up()
    monkeypatch.setattr("muniment.engine.pieces._WINDOW_PIECES", 4)
    monkeypatch.setattr(restore_module, "BATCH_OBJECTS", 9)
    asked = iter([False] * 12 + [True] * 100)
    with pytest.raises(Interrupted):
        restored(home, tmp_path / "out", stop=lambda: next(asked))
    assert differences(bytes(home.root.parent), bytes(tmp_path / "out")) != []
    report, _ = restored(home, tmp_path / "out")
    assert report.kept > 0
    assert differences(bytes(home.root.parent), bytes(tmp_path / "out")) == []


def test_an_empty_snapshot_restores_to_nothing(home: Bench, tmp_path: Path) -> None:
    report, _ = restore_into(tmp_path / "out", None, keys=home.keys, source=home.vault)
    assert report.outcome is Outcome.DONE
    assert os.listdir(tmp_path / "out") == []
