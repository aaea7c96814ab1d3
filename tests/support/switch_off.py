"""Switch each clause's enforcing function off, run the clause's tests, and see them fail.

    python -m tests.support.switch_off [CLAUSE …] [--jobs N]       make prove-clauses

One pytest for each clause, with the function switched off in that process and in every Python it starts: the
server, the client, the tools. A line for each clause; exits 1 when one is not caught by a failing test. One
that survives means that its tests would not notice if it stopped being true; one that breaks what tests are
set up with has shown nothing, because anything could do that.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lint.statement_rules import marks_in
from muniment.server.privacy.statement import read_statement
from muniment.server.privacy.terms import Clause, ClauseState
from tests.support.switching import permissive

ROOT = Path(__file__).parents[2]
_FAILED = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    clause: str
    verdict: str
    """CAUGHT, SURVIVED, BROKEN, or what else went wrong."""
    last: str

    @property
    def is_caught(self) -> bool:
        return self.verdict == "CAUGHT"


def files_showing(clause: str) -> list[Path]:
    """Files that have a test of the clause."""
    return [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if clause in marks_in([path])]


def try_without(clause: Clause, folder: Path, files: Sequence[Path] = ()) -> Outcome:
    """Run the clause's tests with its function switched off; those in `files`, or all there are."""
    files = files or files_showing(clause.id)
    if not files:
        return Outcome(clause.id, "NO TESTS", "")
    switched = folder / clause.id
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).with_name("switched")), *_paths()]),
        "MUNIMENT_SWITCH_OFF": clause.enforce,
        "MUNIMENT_SWITCHED_TO": permissive(clause),
        "MUNIMENT_SWITCHED": str(switched),
    }
    options = ["-q", "-x", "--rootdir", ROOT, "-c", ROOT / "pyproject.toml", "-p", "no:cacheprovider"]
    chosen = ["-p", "tests.support.clauses", "--timeout=200", "--clause", clause.id]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *chosen, *files],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    last = lines[-1] if lines else done.stderr[-200:]
    if not switched.exists():
        return Outcome(clause.id, "NEVER LOADED", clause.enforce)
    failed = [line for line in lines if line.startswith("FAILED")]
    if done.returncode == _FAILED:
        return Outcome(clause.id, "CAUGHT" if failed else "BROKEN", failed[0] if failed else last)
    return Outcome(clause.id, "SURVIVED" if done.returncode == 0 else f"EXIT {done.returncode}", last)


def _paths() -> list[str]:
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("clauses", nargs="*", metavar="CLAUSE", help="all that are enforced, unless named")
    parser.add_argument("--jobs", type=int, default=2)
    chosen = parser.parse_args()
    enforced = [item for item in read_statement().clauses.values() if item.state is ClauseState.ENFORCED]
    wanted = [item for item in enforced if not chosen.clauses or item.id in chosen.clauses]
    outcomes = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(chosen.jobs) as pool:
        for outcome in pool.map(lambda item: try_without(item, Path(folder)), wanted):
            print(f"{outcome.clause:4} {outcome.verdict:9} {outcome.last[:140]}", flush=True)
            outcomes.append(outcome)
    caught = sum(outcome.is_caught for outcome in outcomes)
    print(f"{caught} of {len(outcomes)} clauses turn red when switched off")
    return 0 if caught == len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
