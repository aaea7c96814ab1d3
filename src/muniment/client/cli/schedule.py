"""`muniment schedule on|off|show`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from muniment.client.cli.invocation import Invocation
from muniment.client.home.config import DEFAULT_SET
from muniment.client.home.locks import changing_config
from muniment.client.schedule.cron import CronLine
from muniment.client.schedule.plan import Schedule, Scheduler, checked_every
from muniment.client.schedule.systemd import SystemdTimer
from muniment.client.telling.output import failure
from muniment.model.errors import MunimentError, Outcome, UsageError

app = typer.Typer(help="Back up regularly.", no_args_is_help=True, add_completion=False)

SetName = Annotated[str, typer.Option("--set", help="Which set.", metavar="NAME")]


@app.command()
def on(
    ctx: typer.Context,
    set_name: SetName = DEFAULT_SET,
    every: Annotated[str, typer.Option("--every", help="hourly, daily or weekly.", metavar="TIME")] = "daily",
) -> None:
    """Back up a set regularly.

    First proves one run, made the way the scheduler will make it.
    """
    invocation: Invocation = ctx.obj
    connection = invocation.connection()
    if set_name not in connection.sets:
        raise UsageError(f"there is no set {set_name!r}", advice="Make it with `muniment backup PATH`.")
    scheduler = _scheduler()
    schedule = Schedule(connection.vault, set_name, checked_every(every), invocation.home)
    invocation.output.note(f"Proving one run, as {scheduler.label} will make it.")
    code = scheduler.prove(schedule)
    if code not in (Outcome.DONE, Outcome.INCOMPLETE):
        raise failure(
            f"the run that was to prove the schedule ended with exit code {code}; nothing was scheduled",
            outcome=Outcome.FAILED,
            advice="The lines above say why. A locked key store is a common reason.",
        )
    scheduler.install(schedule)
    with changing_config(invocation.home):
        known = invocation.connection()
        changed = replace(known, schedule={**known.schedule, set_name: every})
        invocation.config.with_connection(changed).save()
    document = {
        "set": set_name,
        "every": every,
        "scheduler": scheduler.name,
        "next": scheduler.describe(schedule),
        "proved": True,
        "exit": code,
    }
    invocation.output.result(
        document,
        [f"The set {set_name!r} is backed up {every}, by {scheduler.label}. Missed runs are caught up."],
    )


@app.command()
def off(ctx: typer.Context, set_name: SetName = DEFAULT_SET) -> None:
    """Stop backing up a set regularly."""
    invocation: Invocation = ctx.obj
    connection = invocation.connection()
    document = {"set": set_name, "every": None}
    known = unschedule(invocation, set_name)
    if not known and set_name not in connection.schedule:
        invocation.output.result(document, [f"The set {set_name!r} was not scheduled; nothing was changed."])
        return
    with changing_config(invocation.home):
        latest = invocation.connection()
        kept = {name: every for name, every in latest.schedule.items() if name != set_name}
        invocation.config.with_connection(replace(latest, schedule=kept)).save()
    invocation.output.result(document, [f"The set {set_name!r} is no longer scheduled."])


@app.command()
def show(ctx: typer.Context) -> None:
    """Show what is scheduled, and whether the scheduler agrees."""
    invocation: Invocation = ctx.obj
    connection = invocation.connection()
    documents = []
    lines = []
    for name, every in connection.schedule.items():
        schedule = Schedule(connection.vault, name, every, invocation.home)
        found = [(one, one.describe(schedule)) for one in _available()]
        active = [(one, text) for one, text in found if text is not None]
        by, following = active[0] if active else (None, None)
        documents.append(
            {"set": name, "every": every, "scheduler": by.name if by else None, "next": following}
        )
        how = f"by {by.label}; next: {following}" if by else "but no scheduler knows of it: turn it on again"
        lines.append(f"{name}: {every}, {how}")
    invocation.output.result(
        documents, lines or ["Nothing is scheduled. `muniment schedule on` changes that."]
    )


def unschedule(invocation: Invocation, set_name: str) -> bool:
    """Have every scheduler forget the set; whether one knew of it."""
    schedule = Schedule(invocation.connection().vault, set_name, "daily", invocation.home)
    known = [scheduler for scheduler in _available() if scheduler.describe(schedule) is not None]
    for scheduler in known:
        scheduler.remove(schedule)
    return bool(known)


def _available() -> list[Scheduler]:
    found: list[Scheduler] = []
    if SystemdTimer.is_available():
        found.append(SystemdTimer())
    if CronLine.is_available():
        found.append(CronLine())
    return found


def _scheduler() -> Scheduler:
    available = _available()
    if not available:
        raise MunimentError(
            "this user has neither a systemd instance nor cron here",
            advice="Run `muniment backup` from whatever starts things on this machine; it needs no terminal.",
        )
    return available[0]
