"""Exclusion rules: git's meaning, ours for absolute rules, and the same answer from the fast path."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muniment.client.disk.posix import PosixDisk
from muniment.client.sets.exclude import DEFAULT_RULES, ExclusionRules
from muniment.model.errors import UsageError


def excluded(
    rules: list[str], path: bytes, *, root: bytes = b"/home/me", directory: bool = False
) -> str | None:
    return rule_for(ExclusionRules(rules, roots=[root]), path, directory=directory)


def rule_for(rules: ExclusionRules, path: bytes, *, directory: bool) -> str | None:
    """The rule that leaves out one path."""
    parent, _, name = path.rpartition(b"/")
    return rules.rules_for(parent + b"/", [name], directories=[name] if directory else []).get(name)


@pytest.mark.parametrize(
    ("rule", "path", "directory"),
    [
        ("*.o", b"/home/me/a/b.o", False),
        ("build/", b"/home/me/x/build", True),
        ("/build", b"/home/me/build", False),
        ("a/**/z", b"/home/me/a/b/c/z", False),
        ("tmp*", b"/home/me/deep/tmp-1", True),
        ("x?y", b"/home/me/xay", False),
        ("[ab].txt", b"/home/me/b.txt", False),
        ("Trash/*", b"/home/me/Trash/line\nbreak", False),
        ("/home/me/Downloads", b"/home/me/Downloads", True),
        ("//home/*/Downloads", b"/home/me/Downloads", True),
        ("*.o", b"/home/me/caf\xe9.o", False),
    ],
)
def test_a_rule_excludes_what_git_would(rule: str, path: bytes, directory: bool) -> None:
    assert excluded([rule], path, directory=directory) == rule


@pytest.mark.parametrize(
    ("rules", "path", "directory"),
    [
        (["build/"], b"/home/me/build", False),
        (["/build"], b"/home/me/x/build", False),
        (["*.o", "!keep.o"], b"/home/me/keep.o", False),
        (["*.o"], b"/home/me/a.ob", False),
        (["//tmp/*"], b"/home/me/tmp/a", False),
        (["# *.o"], b"/home/me/a.o", False),
        (["//home/*"], b"/home/me/anything", False),
        (["//home/me"], b"/home/me/anything", False),
    ],
)
def test_a_rule_leaves_the_rest(rules: list[str], path: bytes, directory: bool) -> None:
    assert excluded(rules, path, directory=directory) is None


def test_defaults_leave_out_kernel_views_of_a_whole_machine_but_keep_their_mount_points() -> None:
    rules = ExclusionRules(DEFAULT_RULES, roots=[b"/"])
    assert rules.rules_for(b"/proc/", [b"1", b"cpuinfo"], directories=[b"1"]).keys() == {b"1", b"cpuinfo"}
    assert rules.rules_for(b"/", [b"proc", b"etc", b"swapfile"], directories=[b"proc", b"etc"]) == {
        b"swapfile": "//swapfile"
    }
    assert rules.rules_for(b"/home/me/", [b".cache", b"tmp"], directories=[b".cache", b"tmp"]) == {
        b".cache": ".cache/"
    }


def test_who_names_a_root_in_scratch_space_gets_it() -> None:
    rules = ExclusionRules(DEFAULT_RULES, roots=[b"/tmp/work", b"/"])
    assert rules.rules_for(b"/tmp/work/", [b"a"], directories=[]) == {}
    assert rules.rules_for(b"/tmp/", [b"other"], directories=[b"other"]) == {b"other": "//tmp/*"}


@pytest.mark.parametrize("root", [b"/tmp", b"/var/tmp", b"/run", b"/var/tmp/"])
def test_who_names_scratch_space_itself_gets_what_is_in_it(root: bytes) -> None:
    top = root.rstrip(b"/") + b"/"
    rules = ExclusionRules(DEFAULT_RULES, roots=[root, b"/"])
    assert rules.rules_for(top, [b"a", b".cache"], directories=[b"a", b".cache"]) == {b".cache": ".cache/"}
    assert rules.rules_for(top + b"a/", [b"b"], directories=[]) == {}


def test_ones_own_rule_for_all_of_a_root_holds() -> None:
    rules = ["//home/me/*", "!//home/me/letters"]
    assert excluded(rules, b"/home/me/a") == "//home/me/*"
    assert excluded(rules, b"/home/me/letters") is None


def test_a_rule_without_meaning_is_refused() -> None:
    with pytest.raises(UsageError):
        ExclusionRules(["a/***/[", "!"], roots=[b"/"])


def test_tags(tmp_path: Path) -> None:
    rules = ExclusionRules([], roots=[bytes(tmp_path)])
    root = PosixDisk().open_root(bytes(tmp_path))
    (tmp_path / "CACHEDIR.TAG").write_bytes(b"Signature: 8a477f597d28d172789f06886806bc55\n# by a test")
    assert rules.is_tagged(root, [b"CACHEDIR.TAG"]) == "CACHEDIR.TAG"
    (tmp_path / "CACHEDIR.TAG").write_bytes(b"holiday pictures")
    assert rules.is_tagged(root, [b"CACHEDIR.TAG"]) is None
    assert rules.is_tagged(root, [b".nobackup"]) == ".nobackup"
    root.close()


_NAMES = st.sampled_from(["a", "b", "ab", "a.o", "b.o", "build", "x1", "keep.o", "é"])
_COMPONENTS = st.sampled_from(["a", "b", "*", "**", "*.o", "a*", "?1", "build", "[ab]", "[^a].o", "k*.o"])
_RULES = st.lists(
    st.builds(
        lambda bang, slash, parts, end: bang + slash + "/".join(parts) + end,
        st.sampled_from(["", "", "!"]),
        st.sampled_from(["", "/"]),
        st.lists(_COMPONENTS, min_size=1, max_size=3),
        st.sampled_from(["", "/"]),
    ),
    min_size=1,
    max_size=5,
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rules=_RULES, paths=st.lists(st.lists(_NAMES, min_size=1, max_size=3), min_size=1, max_size=8))
def test_git_itself_agrees(
    tmp_path_factory: pytest.TempPathFactory, rules: list[str], paths: list[list[str]]
) -> None:
    """`git check-ignore` is the judge, asked about files and, as the walk does, from the top down."""
    repository = tmp_path_factory.mktemp("repository")
    git = ["git", "-C", str(repository)]
    subprocess.run([*git, "init", "-q"], check=True)
    (repository / ".gitignore").write_text("\n".join(rules) + "\n")
    files = {"/".join(parts) for parts in paths}
    files -= {above for above in files for other in files if other.startswith(above + "/")}
    for file in files:
        (repository / file).parent.mkdir(parents=True, exist_ok=True)
        (repository / file).touch()
    asked = "\0".join(sorted(files))
    answer = subprocess.run(
        [*git, "check-ignore", "--no-index", "-z", "--stdin"], input=asked.encode(), capture_output=True
    ).stdout.decode()
    ignored = set(filter(None, answer.split("\0")))
    compiled = ExclusionRules(rules, roots=[b"/root"])

    def leaves_out(file: str) -> bool:
        parts = file.split("/")
        return any(
            rule_for(
                compiled,
                b"/root/" + "/".join(parts[: depth + 1]).encode(),
                directory=depth < len(parts) - 1,
            )
            for depth in range(len(parts))
        )

    assert {file for file in files if leaves_out(file)} == ignored
