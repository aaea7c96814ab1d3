"""The rules that hold the statement to the program. tests/lint/test_statement.py plants a violation of each.

Each rule yields complaints in words. They read values, not files: a planted statement is as good as ours.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from muniment.server.privacy.statement import Statement
from muniment.server.privacy.terms import Aspect, ClauseState

Shown = dict[Aspect, set[str]]
"""Passing tests by what they show of one clause."""

SPECIFIED = tuple(f"P{number}" for number in range(1, 89))
"""The sentences of the statement that ours answers."""
MOST_NONE = 6
ALWAYS_NONE = frozenset({"P29", "P74"})
"""Sentences that would be invalid: nothing may pretend to enforce them."""
USED_BY_NOTHING_YET = frozenset({"P56"})
"""What they allow is not built: nothing links visits, as the statement says. Asked by whatever will."""
MAY_BE_PLANNED = frozenset(
    f"P{number}"
    for number in (21, 22, 27, 28, 32, 42, 43, 57, 58, 61, 62, 63, 64, 66, 67, 71, 73, 77, 78, 80, 81, 82)
)


def unsaid(statement: Statement) -> Iterator[str]:
    """Every sentence names its clause, and every clause has a sentence."""
    said: set[str] = set()
    for sentence in statement.document.sentences():
        said.update(sentence.clauses)
        if not sentence.clauses:
            yield f"line {sentence.line} of the statement has no clause: {sentence.text}"
    for clause in statement.clauses:
        if clause not in said:
            yield f"no sentence of the statement speaks for {clause}"


def resealed(statement: Statement, seals: Mapping[int, str]) -> Iterator[str]:
    """What a version promises never changes; numbers only grow."""
    sealed = seals.get(statement.version)
    if sealed is None:
        yield f"version {statement.version} is not sealed: python -m muniment.server.manage seal"
    elif sealed != statement.digest:
        yield f"version {statement.version} says something else than when it was sealed: give it a new number"
    if seals and statement.version < max(seals):
        yield f"version {statement.version} is older than {max(seals)}, which is sealed already"


def unplaced(statement: Statement) -> Iterator[str]:
    """All 88 are there, nearly all enforced; the rest honestly not."""
    for clause in SPECIFIED:
        if clause not in statement.clauses:
            yield f"{clause} is not placed"
    nowhere = {item.id for item in statement.clauses.values() if item.state is ClauseState.NONE}
    if len(nowhere) > MOST_NONE:
        yield f"{len(nowhere)} clauses are enforced by nothing, {MOST_NONE} at most may be: {sorted(nowhere)}"
    for clause in ALWAYS_NONE - nowhere:
        yield f"{clause} is invalid and must be enforced by nothing"
    for item in statement.clauses.values():
        if item.id in SPECIFIED and item.state is ClauseState.PLANNED and item.id not in MAY_BE_PLANNED:
            yield f"{item.id} may not be merely planned"


def unfound(statement: Statement) -> Iterator[str]:
    """`enforce` names a function that exists."""
    for clause in statement.clauses.values():
        if clause.enforce:
            try:
                found = enforcer(clause.enforce)
            except (ImportError, AttributeError) as error:
                yield f"{clause.id} is enforced by {clause.enforce}, which does not import: {error}"
                continue
            if not hasattr(found, "__code__"):
                yield f"{clause.id} is enforced by {clause.enforce}, which is no function"


def unused(statement: Statement, source: Path) -> Iterator[str]:
    """Some other module under `source` uses it, itself or through what calls it: else only tests do."""
    trees = {
        ".".join(file.relative_to(source.parent).with_suffix("").parts): ast.parse(file.read_bytes())
        for file in source.rglob("*.py")
    }
    named = {name: _names_in(tree) for name, tree in trees.items()}
    for clause in statement.clauses.values():
        if not clause.enforce or clause.id in USED_BY_NOTHING_YET:
            continue
        home = next((name for name in trees if clause.enforce.startswith(name + ".")), None)
        if home is None:
            continue  # `unfound` complains
        ways = _ways_to(clause.enforce.removeprefix(home + ".").split("."), trees[home])
        if ".templatetags." in home and ways & _tags_in(source):
            continue
        others = (names for name, names in named.items() if name != home and _knows(names, home))
        if not any(ways & names for names in others):
            yield f"{clause.id} is enforced by {clause.enforce}, which no other module uses"


def _tags_in(source: Path) -> set[str]:
    """The tags that templates use."""
    templates = (file.read_text(encoding="utf-8") for file in source.rglob("templates/**/*.html"))
    return {tag for text in templates for tag in re.findall(r"\{% *(\w+)", text)}


def _ways_to(function: list[str], tree: ast.Module) -> set[str]:
    """What leads to the function from outside: its own names, and whatever in its module mentions one."""
    ways, before = set(function), 0
    while len(ways) != before:
        before = len(ways)
        for node in tree.body:
            made: list[str] = []
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                made = [node.name]
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                made = [target.id for target in targets if isinstance(target, ast.Name)]
            if made and ways & _names_in(node):
                ways.update(made)
    return ways


def _names_in(tree: ast.AST) -> set[str]:
    """Every name that is read, every part of a dotted one, and modules that are imported or told in texts."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            names.update(alias.name for alias in node.names)
            names.update([node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "muniment." in node.value:
            names.update([node.value, *node.value.rpartition(".")[::2]])
    return names


def _knows(names: set[str], module: str) -> bool:
    return any(name == module or name.startswith(module + ".") for name in names)


def enforcer(path: str) -> Callable[..., Any]:
    """The function at a dotted path, or the method of a class. Raises ImportError, AttributeError."""
    module, _, name = path.rpartition(".")
    try:
        owner: Any = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        parent, _, class_name = module.rpartition(".")
        owner = getattr(import_module(parent), class_name)
    found = getattr(owner, name)
    # Behind decorators such as functools.wraps makes, and those that are classes.
    found = getattr(found, "__func__", found)
    while hasattr(found, "__wrapped__"):
        found = found.__wrapped__
    function: Callable[..., Any] = found
    return function


def unmarked(statement: Statement, marks: Mapping[str, set[Aspect]]) -> Iterator[str]:
    """Some test is marked with every aspect of every enforced clause."""
    for clause in statement.clauses.values():
        missing = [aspect.value for aspect in clause.aspects if aspect not in marks.get(clause.id, set())]
        if missing:
            yield f"no test is marked with {clause.id} ({', '.join(missing)})"


def unshown(
    statement: Statement, shown: Mapping[str, Shown], kinds: Mapping[str, Iterable[str]]
) -> Iterator[str]:
    """Tests passed for every aspect of every enforced clause, and the ledger recorded what it declares."""
    for clause in statement.clauses.values():
        if clause.state is not ClauseState.ENFORCED:
            continue
        missing = [aspect.value for aspect in clause.aspects if not shown.get(clause.id, {}).get(aspect)]
        if missing:
            yield f"{clause.id}: no passing test shows it ({', '.join(missing)})"
        unseen = clause.records - set(kinds.get(clause.id, ()))
        if unseen:
            yield f"{clause.id}: the ledger recorded no {', '.join(sorted(unseen))} during its tests"


def marks_in(files: Iterable[Path]) -> dict[str, set[Aspect]]:
    """The marks `pytest.mark.clause(…)` written in test files, by clause."""
    marks: dict[str, set[Aspect]] = {}
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _is_mark(node.func):
                aspect = next(
                    (ast.literal_eval(item.value) for item in node.keywords if item.arg == "aspect"), "holds"
                )
                for argument in node.args:
                    marks.setdefault(ast.literal_eval(argument), set()).add(Aspect(aspect))
    return marks


def _is_mark(node: ast.expr) -> bool:
    return ast.unparse(node) == "pytest.mark.clause"
