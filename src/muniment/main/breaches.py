"""`muniment admin breach`: data that got out, entered, judged, told, closed. The console does the same."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import typer

from muniment.main.operating import Data, Json, explain, fail, open_operator
from muniment.model.errors import Outcome
from muniment.server.privacy.purposes import Purpose, afresh

breach_app = typer.Typer(
    no_args_is_help=True,
    help="Data that got out: the register, its clock, and notices.",
    add_completion=False,
)

Name = Annotated[UUID, typer.Argument(help="What `breach open` printed.")]
People = Annotated[list[str] | None, typer.Option("--person", help="Address of an account; may be repeated.")]
Everybody = Annotated[bool, typer.Option("--everybody", help="All who have an account.")]
Category = Annotated[
    list[str] | None, typer.Option("--category", help="A kind of data, as /privacy/data-map.json has it.")
]


def moment_of(text: str) -> datetime:
    """A time of ISO 8601; without an offset it is UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time; say it as 2026-11-22T10:30Z") from None
    return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)


@breach_app.command("open")
@afresh(Purpose.BREACH)
def open_breach(
    happened: Annotated[str, typer.Option(help="What happened, naming nobody.")],
    noticed: Annotated[datetime, typer.Option(metavar="TIME", parser=moment_of, help="When one of us did.")],
    data: Data,
    category: Category = None,
    person: People = None,
    everybody: Everybody = False,
    as_json: Json = False,
) -> None:
    """Enter a breach; prints its name. The clock of 72 hours runs from when it was noticed."""
    ref = _acted(
        open_operator(data).breaches.enter,
        happened=happened, noticed_at=noticed, categories=frozenset(category or ()),
        people=frozenset(person or ()), everybody=everybody,
    )  # fmt: skip
    print(json.dumps({"breach": str(ref)}) if as_json else ref)


@breach_app.command("widen")
@afresh(Purpose.BREACH)
def widen(
    name: Name,
    data: Data,
    category: Category = None,
    person: People = None,
    everybody: Everybody = False,
    as_json: Json = False,
) -> None:
    """Add kinds of data and people, as more comes to light."""
    _acted(
        open_operator(data).breaches.widen, name,
        people=person or (), everybody=everybody, categories=category or (),
    )  # fmt: skip
    _say("widened", as_json=as_json)


@breach_app.command("judge")
@afresh(Purpose.BREACH)
def judge(
    name: Name,
    risk: Annotated[str, typer.Option(help="`none`, `some` or `high`: how likely it harms people.")],
    consequences: Annotated[str, typer.Option(help="What it may mean for people; they read it.")],
    measures: Annotated[str, typer.Option(help="What is done, and what they can do; they read it.")],
    data: Data,
    as_json: Json = False,
) -> None:
    """Say what it may do to people. With `high`, the people are written to at once."""
    _acted(open_operator(data).breaches.judge, name, risk, consequences=consequences, measures=measures)
    _say("judged", as_json=as_json)


@breach_app.command("notice")
@afresh(Purpose.BREACH)
def notice(name: Name, data: Data, as_json: Json = False) -> None:
    """Print what the authority is to be told."""
    text = _acted(open_operator(data).breaches.notice, name)
    print(json.dumps({"notice": text}) if as_json else text, end="\n" if as_json else "")


@breach_app.command("reported")
@afresh(Purpose.BREACH)
def reported(
    name: Name,
    authority: Annotated[str, typer.Option(help="Which one, and under which number.")],
    data: Data,
    at: Annotated[
        datetime | None, typer.Option(metavar="TIME", parser=moment_of, help="When, if not now.")
    ] = None,
    why_late: Annotated[str, typer.Option(help="The reason, if that was after 72 hours.")] = "",
    as_json: Json = False,
) -> None:
    """Say that the authority was told."""
    _acted(open_operator(data).breaches.report, name, authority=authority, at=at, why_late=why_late)
    _say("reported", as_json=as_json)


@breach_app.command("close")
@afresh(Purpose.BREACH)
def close(
    name: Name,
    outcome: Annotated[str, typer.Option(help="What came of it, naming nobody.")],
    data: Data,
    as_json: Json = False,
) -> None:
    """Close it, once whoever has to be told was told."""
    _acted(open_operator(data).breaches.close, name, outcome=outcome)
    _say("closed", as_json=as_json)


@breach_app.command("list")
@afresh(Purpose.BREACH)
def list_breaches(data: Data, as_json: Json = False) -> None:
    """List what is entered, open ones first. Exits 1 when one is past its clock and no authority was told."""
    seen = open_operator(data).breaches.list()
    if as_json:
        print(json.dumps({"breaches": [_shown(one) for one in seen]}))
    for one in () if as_json else seen:
        shown = _shown(one)
        late = "  LATE" if one.is_late else ""
        print(f"{shown['breach']}  {shown['state']}  due {shown['due_at']}  harm: {shown['risk']}{late}")
    if not seen and not as_json:
        print("Nothing is entered.")
    if any(one.is_late for one in seen):
        raise typer.Exit(Outcome.FAILED)


def _shown(one: Any) -> dict[str, object]:
    row = one.breach
    return {
        "breach": str(row.ref),
        "state": "closed" if row.closed_at else "open",
        "noticed_at": row.noticed_at.isoformat(),
        "due_at": row.due_at.isoformat(),
        "categories": row.categories,
        "people": None if row.everybody else one.people,
        "told": one.told,
        "risk": row.risk or None,
        "reported_at": row.reported_at and row.reported_at.isoformat(),
        "late": one.is_late,
    }


def _say(done: str, *, as_json: bool) -> None:
    print(json.dumps({done: True}) if as_json else f"It is {done}.")


def _acted(act: Any, *said: Any, **more: Any) -> Any:
    """What the register refuses, it says in words."""
    try:
        return act(*said, **more)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    except Exception as error:
        if type(error).__name__ == "NotYet":
            fail(str(error))
        explain(error)
