"""Naming each path that is not, or not fully, protected or restored."""

from __future__ import annotations

from collections.abc import Sequence

from muniment.client.telling.output import json_path, printable_path, rooted
from muniment.client.telling.progress import Trouble

SHOWN = 200


def problem_lines(troubles: Sequence[Trouble], *, shown: int = SHOWN) -> list[str]:
    lines = []
    for trouble in troubles[:shown]:
        detail = f" ({trouble.detail})" if trouble.detail else ""
        lines.append(f"  {printable_path(rooted(trouble.path))}: {trouble.problem.value}{detail}")
    if len(troubles) > shown:
        lines.append(f"  … and {len(troubles) - shown:,} more; --json names all.")
    return lines


def problem_documents(troubles: Sequence[Trouble]) -> list[dict[str, str]]:
    return [
        {
            "path": json_path(rooted(trouble.path)),
            "problem": trouble.problem.name.lower(),
            "message": trouble.problem.value,
            "detail": trouble.detail,
        }
        for trouble in troubles
    ]
