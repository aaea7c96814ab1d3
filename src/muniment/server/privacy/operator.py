"""Who runs this server, as `DATA/operator.toml` says it: the "we" of the statement, and how to reach us.

    name = "…"            mail = "privacy@…"      post = "… (lines)"      country = "IE"
    officer = "…"         representative = "…"    authority = "…"
    servers = "mail.example.org"

All of it is shown on `/privacy`, but for `servers`: names of our own machines, which mail may be given to.
What is missing is said to be missing: nobody is invented.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

FILE = "operator.toml"


class OperatorUnreadable(Exception):
    """`DATA/operator.toml` is no TOML, or says something that is not asked."""


@dataclass(frozen=True, slots=True)
class Operator:
    """Empty where the operator said nothing."""

    name: str = ""
    mail: str = ""
    post: str = ""
    country: str = ""
    officer: str = ""
    representative: str = ""
    authority: str = ""
    servers: str = ""

    def facts(self) -> tuple[tuple[str, str], ...]:
        """What there is, with what it is called on the page."""
        named = (
            ("Who runs this server", self.name),
            ("E-mail", self.mail),
            ("Post", self.post),
            ("Country", self.country),
            ("Data protection officer", self.officer),
            ("Representative in the European Union", self.representative),
            ("Authority that watches over us", self.authority),
        )
        return tuple((what, said) for what, said in named if said)


def read_operator(data: Path) -> Operator:
    """Raises OperatorUnreadable; without a file everything is empty."""
    path = data / FILE
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Operator()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise OperatorUnreadable(f"{path}: {error}") from error
    unknown = set(content) - {field.name for field in fields(Operator)}
    wrong = [name for name, value in content.items() if not isinstance(value, str)]
    if unknown or wrong:
        raise OperatorUnreadable(f"{path}: {', '.join(sorted(unknown | set(wrong)))} is not asked or no text")
    return Operator(**content)
