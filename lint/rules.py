"""The house rules that no off-the-shelf linter has, each with code it must pass and code it must refuse.

    python -m lint.rules src tests benches lint

A line may waive a rule with a reason: ``# house-rule: function-length, a table reads best in one piece``.
What ruff, mypy and import-linter can check is left to them.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeGuard

Function = ast.FunctionDef | ast.AsyncFunctionDef
Finding = tuple[int, str]

MODULE_LINES = 600
FUNCTION_LINES = 80
PURE = ("model", "crypto", "format", "wire", "engine")
WAIVER = re.compile(r"#\s*house-rule:\s*(?P<rule>[a-z-]+)\s*,\s*\S+")


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed file; `path` is relative to the repository, with forward slashes."""

    path: PurePosixPath
    text: str
    tree: ast.Module

    @classmethod
    def parse(cls, path: str, text: str) -> Source:
        return cls(PurePosixPath(path), text, ast.parse(text))

    @property
    def package(self) -> str:
        """The package under src/muniment that holds the file, or the empty string."""
        parts = self.path.parts
        return parts[2] if len(parts) > 3 and parts[:2] == ("src", "muniment") else ""

    @property
    def is_ours(self) -> bool:
        return self.path.parts[:2] == ("src", "muniment")

    @property
    def is_test(self) -> bool:
        return self.path.parts[0] == "tests" and self.path.name.startswith("test_")


@dataclass(frozen=True, slots=True)
class Rule:
    """`where` is the path at which the examples are read."""

    name: str
    why: str
    find: Callable[[Source], Iterator[Finding]]
    where: str
    good: tuple[str, ...]
    bad: tuple[str, ...]


def _functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def _dotted(node: ast.AST) -> str:
    """`a.b.c` for a chain of attributes on a name, otherwise the empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = _dotted(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""


def _imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Every imported module with the statement that imports it; relative ones begin with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node, "." * node.level + (node.module or "")


WALL_CLOCKS = {
    "time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today",
    "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.date.today",
}  # fmt: skip
RANDOMNESS = {"random", "secrets"}


def wall_clock(source: Source) -> Iterator[Finding]:
    if source.package not in PURE:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and _dotted(node.func) in WALL_CLOCKS:
            yield node.lineno, f"{_dotted(node.func)}() reads the wall clock; take the time as an argument"


def ambient_randomness(source: Source) -> Iterator[Finding]:
    if source.package not in ("engine", "format"):
        return
    for node, name in _imports(source.tree):
        if name in RANDOMNESS:
            yield node.lineno, "randomness reaches this layer as an argument or a port"
    for call in ast.walk(source.tree):
        if isinstance(call, ast.Call) and _dotted(call.func) == "os.urandom":
            yield call.lineno, "randomness reaches this layer as an argument or a port"


def own_import_in_function(source: Source) -> Iterator[Finding]:
    if not source.is_ours:
        return
    for function in _functions(source.tree):
        for node, name in _imports(function):
            if name.split(".")[0] in ("muniment", ""):
                yield node.lineno, f"{name} is ours: import it at the top, or break the cycle"


_DIALLERS = {
    "_socket", "_ssl", "aiohttp", "anyio", "asyncio.streams", "django.core.mail", "ftplib", "http.client",
    "httpcore", "httpx", "httpx2", "imaplib", "logging.handlers", "multiprocessing", "nntplib", "poplib",
    "pycurl", "requests", "smtplib", "socket", "ssl", "subprocess", "telnetlib", "trio", "urllib.request",
    "urllib3", "websockets", "xmlrpc.client",
}  # fmt: skip
CHOKE_POINTS = ("server/mail/", "server/privacy/gate/", "server/store/", "server/accounts/connectors/")
_LISTENS = "server/process.py"
_DIALS = {
    "create_connection", "create_datagram_endpoint", "create_subprocess_exec", "create_subprocess_shell",
    "create_unix_connection", "email_user", "open_connection", "open_unix_connection", "sock_connect",
    "subprocess_exec", "subprocess_shell",
}  # fmt: skip
_OS_STARTS = re.compile(r"^os\.(system|popen|exec[a-z]+|spawn[a-z]+|posix_spawnp?|fork|forkpty)$")
_BY_NAME = {"import_module", "import_string", "__import__"}


def dialling(source: Source) -> Iterator[Finding]:
    inside = "/".join(source.path.parts[2:])
    if source.package not in ("server", "main") or inside.startswith(CHOKE_POINTS):
        return
    allowed = {"socket", "ssl"} if inside == _LISTENS else set()
    for node, name in _imported(source.tree):
        above = {".".join(name.split(".")[:count]) for count in range(1, name.count(".") + 2)}
        if name in ("http", "urllib"):
            yield node.lineno, f"{name}: name the module of it that is meant"
        elif (above & _DIALLERS) - allowed or name.rpartition(".")[2] in _DIALS or _OS_STARTS.match(name):
            yield node.lineno, f"{name}: only a choke point reaches out, to a declared recipient"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and (node.attr in _DIALS or _OS_STARTS.match(_dotted(node))):
            yield node.lineno, f"{node.attr}: only a choke point reaches out, to a declared recipient"
        if isinstance(node, ast.ImportFrom):
            hidden = {alias.name for alias in node.names if alias.asname} & _BY_NAME
            yield from ((node.lineno, f"{name}: keep its name") for name in sorted(hidden))
        if isinstance(node, ast.Call) and not _is_ours(node):
            yield node.lineno, "only what is ours is imported by name, where it can be read which it is"


def _imported(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Everything imported, with its module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)


def _is_ours(call: ast.Call) -> bool:
    """Whether it imports nothing by name, or what begins with our own."""
    if _dotted(call.func).rpartition(".")[2] not in _BY_NAME:
        return True
    first = call.args[0] if call.args else None
    if isinstance(first, ast.JoinedStr):
        first = first.values[0]
    return isinstance(first, ast.Constant) and str(first.value).startswith("muniment.")


_SQL_BY_HAND = {
    "server/database.py", "server/health.py", "server/vaults/hot_rows.py",
    "server/privacy/ledger/entries.py", "server/privacy/ledger/tree.py",
}  # fmt: skip
_GUARD = "server/privacy/guard.py"


def behind_the_guard(source: Source) -> Iterator[Finding]:
    inside = "/".join(source.path.parts[2:])
    if source.package != "server" or "/migrations/" in inside:
        return
    for node in ast.walk(source.tree):
        if inside != _GUARD and _is_dict(node):
            yield node.lineno, "read the attribute, which asks what for"
        if inside in _SQL_BY_HAND:
            continue
        if _is_by_hand(node):
            yield node.lineno, "SQL by hand asks nothing, so it stands in few places"


def _is_dict(node: ast.AST) -> TypeGuard[ast.expr]:
    """`row.__dict__` and what comes to the same; of a class it is no row's."""
    if isinstance(node, ast.Call):
        return _dotted(node.func) == "vars" and [ast.unparse(one) for one in node.args] not in ([], ["cls"])
    return getattr(node, "attr", "") == "__dict__" or getattr(node, "value", "") == "__dict__"


def _is_by_hand(node: ast.AST) -> TypeGuard[ast.alias | ast.expr]:
    if isinstance(node, ast.alias):
        return node.name in {"RawSQL", "pickle"}
    if isinstance(node, ast.Attribute) and node.attr == "cursor":
        return "connection" in ast.unparse(node.value)
    if not isinstance(node, ast.Call):
        return False
    name = getattr(node.func, "attr", "") or getattr(node.func, "id", "")
    beyond_conditions = bool(node.args) or any(word.arg != "where" for word in node.keywords)
    return name in {"raw", "RawSQL"} or (name == "extra" and beyond_conditions)


_BY_ADDRESS = "server/accounts/models/people.py"
_LOOK = {"filter", "get", "exclude", "get_or_create", "update_or_create"}


def account_by_address(source: Source) -> Iterator[Finding]:
    if source.package != "server" or "/".join(source.path.parts[2:]) == _BY_ADDRESS:
        return
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call) or not any(word.arg == "email" for word in node.keywords):
            continue
        manager, _, name = ast.unparse(node.func).rpartition(".")
        if name in _LOOK and manager.endswith(("Account.objects", "._default_manager")):
            yield node.lineno, "an account is found by `with_address`, which knows how addresses are kept"


def star_import(source: Source) -> Iterator[Finding]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            yield node.lineno, "name what is imported"


VAGUE_MODULES = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "misc", "stuff"}


def vague_module(source: Source) -> Iterator[Finding]:
    for part in (*source.path.parts[:-1], source.path.stem):
        if part in VAGUE_MODULES:
            yield 1, f"{part!r} says nothing: name the module after what it knows"


VAGUE_VERB = re.compile(r"^(process|handle|do|manage|perform)(_|$)")


def vague_verb(source: Source) -> Iterator[Finding]:
    if not source.is_ours or "management" in source.path.parts:
        return
    for function in _functions(source.tree):
        if VAGUE_VERB.match(function.name):
            yield function.lineno, f"{function.name} is no verb of the domain; see docs/glossary.md"


def module_length(source: Source) -> Iterator[Finding]:
    lines = source.text.count("\n") + 1
    if lines > MODULE_LINES:
        yield 1, f"{lines} lines, at most {MODULE_LINES} (aim for 400): split by meaning"


def _docstring_lines(function: Function) -> int:
    if ast.get_docstring(function, clean=False) is None:
        return 0
    first = function.body[0]
    return (first.end_lineno or first.lineno) - first.lineno + 1


def function_length(source: Source) -> Iterator[Finding]:
    if "migrations" in source.path.parts:
        return
    for function in _functions(source.tree):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1 - _docstring_lines(function)
        if lines > FUNCTION_LINES:
            yield function.lineno, f"{function.name} has {lines} lines, at most {FUNCTION_LINES} (aim for 50)"


def foreign_import_in_model(source: Source) -> Iterator[Finding]:
    if source.package != "model":
        return
    for node, name in _imports(source.tree):
        root = name.split(".")[0]
        if root not in sys.stdlib_module_names and root != "muniment":
            yield node.lineno, f"model is standard library only, not {root or 'relative imports'}"


def swallowed_exception(source: Source) -> Iterator[Finding]:
    if not source.is_ours:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or _dotted(node.type) in ("Exception", "BaseException")
            empty = all(isinstance(step, ast.Pass) or _is_ellipsis(step) for step in node.body)
            if broad and empty:
                yield node.lineno, "an error of unknown kind vanishes here: name it, or act on it"


def _is_ellipsis(step: ast.stmt) -> bool:
    return isinstance(step, ast.Expr) and isinstance(step.value, ast.Constant) and step.value.value is ...


def module_docstring(source: Source) -> Iterator[Finding]:
    expected = source.is_ours and source.text.strip() and "migrations" not in source.path.parts
    if expected and ast.get_docstring(source.tree) is None:
        yield 1, "say in one line what this module is for"


ASSERTING = re.compile(r"(^|_|\.)(assert|check|expect|raises|warns|fail|run_state_machine_as_test)")


def _calls(function: Function) -> set[str]:
    """Last names of everything that is called."""
    calls = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
    return {call.attr if isinstance(call, ast.Attribute) else _dotted(call) for call in calls}


def _asserting(tree: ast.Module) -> set[str]:
    """Functions of the module that assert, themselves or through one another."""
    functions = list(_functions(tree))
    found = {
        function.name
        for function in functions
        if any(isinstance(node, ast.Assert) for node in ast.walk(function))
        or any(ASSERTING.search(name) for name in _calls(function))
    }
    while more := {f.name for f in functions if f.name not in found and _calls(f) & found}:
        found |= more
    return found


def test_without_assertion(source: Source) -> Iterator[Finding]:
    if not source.is_test:
        return
    asserting = _asserting(source.tree)
    for function in _functions(source.tree):
        if function.name.startswith("test_") and function.name not in asserting:
            yield function.lineno, f"{function.name} asserts nothing"


SKIPS = {"pytest.skip", "pytest.xfail", "pytest.mark.skip", "pytest.mark.xfail", "pytest.importorskip"}


def skipped_test(source: Source) -> Iterator[Finding]:
    if source.path.parts[0] != "tests":
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and _dotted(node) in SKIPS:
            yield node.lineno, f"{_dotted(node)}: a test that does not run proves nothing"


RULES: tuple[Rule, ...] = (
    Rule(
        "no-wall-clock",
        "time reaches the inner layers as an argument, so that tests can own it",
        wall_clock,
        "src/muniment/engine/example.py",
        good=("def expired(snapshots, *, now): ...", "import time\ntime.monotonic()"),
        bad=("import time\nnow = time.time()", "from datetime import datetime\nnow = datetime.now()"),
    ),
    Rule(
        "no-ambient-randomness",
        "formats and runs are repeatable when their randomness is given",
        ambient_randomness,
        "src/muniment/format/example.py",
        good=("def seal(content, *, randomness): ...",),
        bad=("import secrets", "from random import choice", "import os\nos.urandom(16)"),
    ),
    Rule(
        "no-own-import-in-function",
        "a hidden import hides a cycle",
        own_import_in_function,
        "src/muniment/client/example.py",
        good=("from muniment.model.ids import PackId", "def show():\n    import rich"),
        bad=("def f():\n    from muniment.model.ids import PackId", "def f():\n    from . import other"),
    ),
    Rule(
        "only-choke-points-dial",
        "each counterpart is a declared recipient, so what reaches out is in few places",
        dialling,
        "src/muniment/server/portal/example.py",
        good=(
            "from http import HTTPStatus",
            "from urllib.parse import urlsplit",
            "import asyncio\nasyncio.sleep(1)",
            "import_string('muniment.server.mail.suppression.WelcomeBack')()",
            "import_string(f'muniment.main.embedded.{name}')",
        ),
        bad=(
            "import smtplib",
            "from http import client",
            "import urllib.request",
            "def f():\n    import httpx2",
            "from django.core.mail import send_mail",
            "import urllib\nurllib.request.urlopen('a')",
            "from django.core.mail.message import EmailMessage",
            "from django.core import mail",
            "person.email_user('a', 'b')",
            "import asyncio\nasyncio.open_connection('a', 1)",
            "from asyncio import open_connection as dial",
            "asyncio.get_running_loop().create_connection(None, 'a', 80)",
            "from logging.handlers import HTTPHandler",
            "import socket",
            "import subprocess",
            "import os\nos.system('curl a')",
            "from os import execvp",
            "import_module('smtplib')",
            "import_string(name)",
            "from importlib import import_module as take",
        ),
    ),
    Rule(
        "no-reading-behind-the-guard",
        "a personal column is read for a purpose it lists, and what goes round its attribute is not asked",
        behind_the_guard,
        "src/muniment/server/portal/example.py",
        good=("Account.objects.values('email')", "rows.extra(where=[SETTLED])"),
        bad=(
            "with connection.cursor() as cursor: ...",
            "Account.objects.raw('SELECT id FROM account')",
            "rows.annotate(shown=RawSQL('email', ()))",
            "rows.filter(pk=1).extra(select={'shown': 'email'})",
            "rows.extra({'shown': 'email'})",
            "from django.db.models.expressions import RawSQL as Shown",
            "ask = connection.cursor",
            "account.__dict__['email']",
            "getattr(account, '__dict__')",
            "vars(account)",
            "import pickle",
        ),
    ),
    Rule(
        "accounts-by-address-in-one-place",
        "who forgets that addresses are kept in small letters finds nobody, and says that there is none",
        account_by_address,
        "src/muniment/server/mail/example.py",
        good=(
            "Account.objects.with_address(email).first()",
            "Account.objects.filter(pk=1)",
            "Account.objects.create(email=email)",
            "Request.objects.filter(email=email)",
        ),
        bad=(
            "Account.objects.filter(email=email).first()",
            "get_user_model()._default_manager.get(email=email.lower())",
        ),
    ),
    Rule(
        "no-star-import",
        "a reader must see where a name comes from",
        star_import,
        "src/muniment/client/example.py",
        good=("from os import path",),
        bad=("from os import *",),
    ),
    Rule(
        "no-vague-module",
        "a module that fits everything attracts everything",
        vague_module,
        "src/muniment/client/common.py",
        good=(),
        bad=("x = 1",),
    ),
    Rule(
        "no-vague-verb",
        "names are verbs of the domain",
        vague_verb,
        "src/muniment/client/example.py",
        good=("def commit_snapshot(): ...", "def doze(): ..."),
        bad=("def process_packs(): ...", "async def handle(request): ..."),
    ),
    Rule(
        "module-length",
        "the tail of long modules is what tells a good code base from a bad one",
        module_length,
        "src/muniment/client/example.py",
        good=("x = 1\n" * 400,),
        bad=("x = 1\n" * 601,),
    ),
    Rule(
        "function-length",
        "a function is read in one look",
        function_length,
        "src/muniment/client/example.py",
        good=("def f():\n" + "    x = 1\n" * 60, 'def f():\n    """' + "words\n" * 90 + '"""\n    x = 1'),
        bad=("def f():\n" + "    x = 1\n" * 81,),
    ),
    Rule(
        "model-is-standard-library",
        "the innermost layer depends on nothing that can change under it",
        foreign_import_in_model,
        "src/muniment/model/example.py",
        good=("import enum\nfrom muniment.model.ids import PackId",),
        bad=("import msgspec", "from rich import print"),
    ),
    Rule(
        "no-swallowed-exception",
        "backups fail silently in exactly such places",
        swallowed_exception,
        "src/muniment/client/example.py",
        good=(
            "try:\n    f()\nexcept FileNotFoundError:\n    pass",
            "try:\n    f()\nexcept Exception as e:\n    log(e)",
        ),
        bad=("try:\n    f()\nexcept Exception:\n    pass", "try:\n    f()\nexcept:\n    ..."),
    ),
    Rule(
        "module-docstring",
        "a newcomer reads the first line of a module first",
        module_docstring,
        "src/muniment/client/example.py",
        good=('"""Where the keys of this machine are kept."""\nx = 1', ""),
        bad=("x = 1",),
    ),
    Rule(
        "test-asserts",
        "a test that cannot fail proves nothing",
        test_without_assertion,
        "tests/unit/test_example.py",
        good=(
            "def test_a():\n    assert f() == 1",
            "def test_b():\n    with pytest.raises(ValueError):\n        f()",
            "def test_c(page):\n    assert_same_tree(page)",
            "def same(page):\n    assert page\ndef test_d(page):\n    same(page)",
        ),
        bad=("def test_a():\n    f()", "def g():\n    f()\ndef test_b():\n    g()"),
    ),
    Rule(
        "no-skipped-test",
        "a test that does not run must not look like one that passed",
        skipped_test,
        "tests/unit/test_example.py",
        good=("@pytest.mark.slow\ndef test_a():\n    assert 1",),
        bad=("@pytest.mark.skip\ndef test_a():\n    assert 1", "def test_a():\n    pytest.skip('later')"),
    ),
)


def broken_rules(source: Source, *, rules: Iterable[Rule] = RULES) -> Iterator[str]:
    """`path:line: rule: message` for each finding that its line does not waive."""
    lines = source.text.splitlines()
    for rule in rules:
        for line, message in rule.find(source):
            waiver = WAIVER.search(lines[line - 1]) if line <= len(lines) else None
            if waiver is None or waiver["rule"] != rule.name:
                yield f"{source.path}:{line}: {rule.name}: {message}"


def main(roots: list[str]) -> int:
    broken = 0
    for root in roots:
        for path in sorted(Path(root).rglob("*.py")):
            for complaint in broken_rules(Source.parse(path.as_posix(), path.read_text(encoding="utf-8"))):
                print(complaint)
                broken += 1
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
