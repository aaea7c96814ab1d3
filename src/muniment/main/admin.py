"""`muniment admin`: the operator's own commands, on the data directory, whether it is served or not."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from muniment.main.breaches import breach_app
from muniment.main.operating import Data, Json, explain, fail, open_operator
from muniment.main.serve import IMAP_URL, SMTP_URL, load_embedded
from muniment.model.errors import Outcome
from muniment.model.ids import VaultId
from muniment.server.mail.mail_server import BadMailUrl
from muniment.server.mail.postbox import BadPostbox
from muniment.server.privacy.purposes import Purpose, afresh

admin_app = typer.Typer(
    no_args_is_help=True, help="Accounts, codes and confirmations of a server.", add_completion=False
)

admin_app.add_typer(breach_app, name="breach")

Email = Annotated[str, typer.Argument(help="E-mail address of the account.")]
_MOST_MAIL = 25 << 20
"""Bytes that are read of a mail: the usual limit of mail servers."""
SelfSigned = Annotated[
    str | None, typer.Option("--tls", help="`self`: the server will be served with --tls self.")
]


_SIZE = re.compile(r"([0-9]{1,15})([KMGT]?)(?:iB)?", re.IGNORECASE)
_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_MOST_BYTES = (1 << 63) - 1
"""What the databases keep."""


def size_of(text: str) -> int:
    """Bytes, or KiB, MiB, GiB, TiB by their first letters."""
    found = _SIZE.fullmatch(text)
    size = int(found[1]) * _FACTORS[found[2].upper()] if found else -1
    if not 0 <= size <= _MOST_BYTES:
        raise typer.BadParameter(f"{text!r} is no size; say it in bytes, or as 500M or 10G")
    return size


@admin_app.command("create-account")
@afresh(Purpose.SIGN_IN, Purpose.SECURITY, Purpose.CONTRACT, Purpose.BACKUP)
def create_account(email: Email, data: Data, tls: SelfSigned = None, as_json: Json = False) -> None:
    """Make an account; prints a one-time code.

    The code enrols its first device.
    """
    operator = open_operator(data, tls=tls, new=True)
    try:
        code = operator.create_account(_checked_email(email))
    except Exception as error:
        explain(error)
    _show_code(code, as_json=as_json)


@admin_app.command("enrol")
@afresh(Purpose.SIGN_IN, Purpose.BACKUP, Purpose.SECURITY)
def enrol(
    email: Email,
    data: Data,
    vault: Annotated[str | None, typer.Option(help="Only this vault of the account.")] = None,
    new_vault: Annotated[bool, typer.Option("--new-vault", help="The device makes a further vault.")] = False,
    tls: SelfSigned = None,
    as_json: Json = False,
) -> None:
    """Print a code for another device."""
    if vault is not None and new_vault:
        raise typer.BadParameter("--vault and --new-vault exclude each other")
    operator = open_operator(data, tls=tls)
    try:
        ref = None if vault is None else UUID(bytes=VaultId.parse(vault).raw)
        code = operator.enrol(_checked_email(email), vault=ref, new_vault=new_vault)
    except Exception as error:
        explain(error)
    _show_code(code, as_json=as_json)


@admin_app.command("sign-in-link")
@afresh(Purpose.SIGN_IN, Purpose.SECURITY)
def sign_in_link(email: Email, data: Data, as_json: Json = False) -> None:
    """Print a link with which the account's owner sets a password.

    It works once, for seven days. Hand it to nobody else.
    """
    operator = open_operator(data)
    try:
        link = operator.sign_in_link(_checked_email(email))
    except Exception as error:
        explain(error)
    print(json.dumps({"link": link}) if as_json else link)


@admin_app.command("forget-child")
@afresh(Purpose.REQUESTS)
def forget_child(email: Email, data: Data, as_json: Json = False) -> None:
    """Delete an account that turned out to be a child's, with all it holds, at once."""
    operator = open_operator(data)
    try:
        operator.forget_child(_checked_email(email))
    except Exception as error:
        explain(error)
    print(json.dumps({"forgotten": True}) if as_json else "Everything of that account is deleted.")


@admin_app.command("confirm")
@afresh(Purpose.BACKUP, Purpose.SECURITY)
def confirm(
    data: Data,
    request: Annotated[str | None, typer.Argument(help="Id of the request; none lists what waits.")] = None,
    undo: Annotated[
        bool, typer.Option("--undo", help="Refuse the request, or undo it while it waits.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option(help="Why you decide in the owner's place; the owner reads it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List what waits for the owner, or confirm one with a reason."""
    operator = open_operator(data)
    describe = load_embedded("describe_request", operator.deployment.config)
    if request is None:
        waiting = [describe(row) for row in operator.pending()]
        if as_json:
            print(json.dumps({"requests": waiting}))
        else:
            print("\n".join(_line(item) for item in waiting) or "Nothing waits for confirmation.")
        return
    if reason is None or not reason.strip():
        raise typer.BadParameter(
            "say why you decide in the owner's place; the owner reads it", param_hint="--reason"
        )
    try:
        ref = UUID(hex=request)
        row = (operator.refuse if undo else operator.confirm)(ref, reason=reason)
    except Exception as error:
        explain(error)
    shown = describe(row)
    print(json.dumps(shown) if as_json else _line(shown))


@admin_app.command("staff")
@afresh(Purpose.SIGN_IN)
def staff(
    email: Email,
    data: Data,
    remove: Annotated[bool, typer.Option("--remove", help="No longer staff.")] = False,
    as_json: Json = False,
) -> None:
    """Let an account open the console, where orders and requests are handled; or no longer."""
    try:
        open_operator(data).set_staff(_checked_email(email), is_staff=not remove)
    except Exception as error:
        explain(error)
    said = "is staff no more" if remove else "is staff; the console takes a passkey or an authenticator app"
    print(json.dumps({"staff": not remove}) if as_json else f"{email} {said}.")


@admin_app.command("declare-buyer")
@afresh(Purpose.SUCCESSION)
def declare_buyer(
    buyer: Annotated[str, typer.Argument(help="Who takes the service over.")],
    country: Annotated[str, typer.Option(help="Their country, two letters.")],
    basis: Annotated[str, typer.Option(help="What the transfer there rests on, if it crosses a border.")],
    data: Data,
    yes: Annotated[bool, typer.Option("--yes", help="You mean it: it cannot be taken back.")] = False,
    as_json: Json = False,
) -> None:
    """Announce that somebody takes the service over; everybody is told, and nothing goes for thirty days.

    It does so with --yes only, for that cannot be taken back.
    """
    operator = open_operator(data)
    if not yes:
        raise typer.BadParameter(
            f"everybody with an account will be written to that {buyer} ({country}) takes the service over, "
            "and that cannot be taken back; say --yes if it is so",
            param_hint="--yes",
        )
    try:
        ref = operator.declare_buyer(buyer, country=country, basis=basis)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    print(json.dumps({"succession": ref}) if as_json else ref)


@admin_app.command("hand-over")
@afresh(Purpose.SUCCESSION)
def hand_over(
    succession: Annotated[UUID, typer.Argument(help="What `declare-buyer` printed.")],
    target: Annotated[Path, typer.Option("--to", help="A new file: one JSON object for each person.")],
    data: Data,
    as_json: Json = False,
) -> None:
    """Write what the buyer may get: of people who were told thirty days ago and did not object."""
    if target.exists():
        raise typer.BadParameter(f"{target} exists")
    try:
        given, kept = open_operator(data).hand_over(succession, target)
    except FileExistsError:
        raise typer.BadParameter(f"{target} exists") from None
    except Exception as error:
        explain(error)
    counts = {"handed_over": given, "kept": kept}
    print(json.dumps(counts) if as_json else f"{given} people handed over, {kept} not.")


@admin_app.command("egress")
def egress(data: Data, as_json: Json = False) -> None:
    """List whom the server connects to, for a firewall that lets out nothing else.

    Exits 1 when one is declared by nobody, or its contract has lapsed. The mail server is the one that
    MUNIMENT_SMTP_URL names here.
    """
    operator = open_operator(data)
    try:
        found = operator.egress()
    except BadMailUrl as error:
        fail(f"{SMTP_URL}: {error}")
    except BadPostbox as error:
        fail(f"{IMAP_URL}: {error}")
    if as_json:
        shown = [
            {
                "host": item.host, "port": item.port, "why": item.why, "recipient": item.recipient or None,
                "standing": item.standing.name.lower(),
            }
            for item in found
        ]  # fmt: skip
        print(json.dumps({"egress": shown}))
    else:
        for item in found:
            who = f", {item.recipient}" if item.recipient else ""
            print(f"{item.address}  {item.why}  ({item.standing.value}{who})")
        if not found:
            print("It connects to nobody.")
    if not all(item.standing.is_allowed for item in found):
        raise typer.Exit(Outcome.FAILED)


@admin_app.command("mailbox")
@afresh(Purpose.SERVICE_MAIL)
def mailbox(
    data: Data,
    to: Annotated[str, typer.Option(help="Only mails to this address.")] = "",
    as_json: Json = False,
) -> None:
    """Show the mails that wait to be sent; without a mail server they stay for a week."""
    mails = open_operator(data).mails(to=to)
    if as_json:
        shown = [{"to": mail.to, "subject": mail.subject, "text": mail.text} for mail in mails]
        print(json.dumps({"mails": shown}))
        return
    for mail in mails:
        print(f"To: {mail.to}\nSubject: {mail.subject}\n\n{mail.text}\n{'-' * 40}")
    if not mails:
        print("No mail waits.")


@admin_app.command("requests")
@afresh(Purpose.REQUESTS)
def requests(
    data: Data,
    run: Annotated[bool, typer.Option("--run", help="First do what is due now.")] = False,
    as_json: Json = False,
) -> None:
    """List what people asked about their own data, the most urgent first.

    What is due runs by itself every ten minutes while the server serves.
    """
    operator = open_operator(data)
    waiting = dict(operator.advance_requests().waiting) if run else {}
    rows = [
        {
            "request": row.ref.hex,
            "kind": row.kind,
            "received_at": row.received_at.isoformat(),
            "due_at": row.due_at.isoformat(),
            "verified": row.verified_at is not None,
            "runs_at": row.runs_at.isoformat() if row.runs_at else None,
            "stopped_by": waiting.get(row.ref),
        }
        for row in operator.open_requests()
    ]
    if as_json:
        print(json.dumps({"requests": rows}))
        return
    for row in rows:
        print(f"{row['request']}  {row['kind']}  due {row['due_at']}  {row['stopped_by'] or ''}".rstrip())
    if not rows:
        print("Nothing waits.")


@admin_app.command("jobs")
def jobs(data: Data, as_json: Json = False) -> None:
    """List what the server does by itself: when each work ran last, how long it took, and when it runs next.

    Exits 1 when one is overdue or failing.
    """
    rows = open_operator(data).jobs()
    if as_json:
        shown = [
            {
                "job": row.name,
                "state": row.state.value,
                "last_run": row.started_at and row.started_at.isoformat(),
                "took": None if row.took is None else row.took.total_seconds(),
                "next_run": row.next_at and row.next_at.isoformat(),
                "failures": row.failures,
                "error": row.error or None,
            }
            for row in rows
        ]
        print(json.dumps({"jobs": shown}))
    else:
        print(f"{'JOB':<12}{'STATE':<9}{'LAST RUN':<22}{'TOOK':>9}  {'NEXT':<22}".rstrip())
        for row in rows:
            took = "-" if row.took is None else f"{row.took.total_seconds():.1f} s"
            last, coming = (f"{at:%Y-%m-%d %H:%M:%SZ}" if at else "-" for at in (row.started_at, row.next_at))
            failed = f"{row.error}, {row.failures} times" if row.error else ""
            print(f"{row.name:<12}{row.state.value:<9}{last:<22}{took:>9}  {coming:<22}{failed}".rstrip())
    if not all(row.is_well for row in rows):
        raise typer.Exit(Outcome.FAILED)


@admin_app.command("ledger")
@afresh(Purpose.ACCOUNTABILITY)
def ledger(
    data: Data,
    database_restored: Annotated[
        bool,
        typer.Option(
            "--database-restored",
            help="First record that you put the database back from a backup, and go on from there.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Read the whole ledger, and name each row that is not as it was written.

    Exits 5 when there is one. A server whose ledger has fewer entries than it signed does not start before
    --database-restored says why.
    """
    desk = open_operator(data, desk="LedgerDesk")
    try:
        if database_restored:
            desk.accept_restored()
        wrong, restored, size = desk.altered(), desk.restorations(), desk.size()
    except Exception as error:
        explain(error)
    if as_json:
        print(json.dumps({"size": size, "altered": wrong, "restored": [asdict(one) for one in restored]}))
    else:
        for one in restored:
            print(f"{one.hour}  database put back: {one.signed} entries had been signed, {one.found} left")
        for line in wrong:
            print(line)
        print(f"{size} entries, {'ALTERED' if wrong else 'as they were written'}.")
    if wrong:
        raise typer.Exit(Outcome.INTEGRITY)


@admin_app.command("intake")
@afresh(Purpose.REQUESTS)
def intake(data: Data, as_json: Json = False) -> None:
    """Take in a request about data that came as mail: `muniment admin intake < message.eml`.

    Its sender is mailed a link, and nothing is done before that is used. For the pipe of a mail server.
    """
    operator = open_operator(data)
    try:
        ref = operator.take_in_mail(sys.stdin.buffer.read(_MOST_MAIL))
    except Exception as error:
        explain(error)
    print(json.dumps({"request": ref.hex}) if as_json else ref.hex)


@admin_app.command("set-allowance")
@afresh(Purpose.METERING, Purpose.BACKUP)
def set_allowance(
    email: Email,
    size: Annotated[
        int,
        typer.Argument(metavar="SIZE", help="What each vault may hold: bytes, or 500M, 10G.", parser=size_of),
    ],
    data: Data,
    as_json: Json = False,
) -> None:
    """Set what each vault of the account may hold."""
    operator = open_operator(data)
    try:
        operator.set_allowance(_checked_email(email), size)
    except Exception as error:
        explain(error)
    print(json.dumps({"allowance": size}) if as_json else f"Each vault may hold {size} bytes.")


@admin_app.command("withdraw-slot-list")
@afresh(Purpose.BACKUP, Purpose.SECURITY)
def withdraw_slot_list(
    vault: Annotated[str, typer.Argument(help="The vault's id.", metavar="VAULT")],
    data: Data,
    as_json: Json = False,
) -> None:
    """Take back a vault's newest list of keys, which a device that is revoked now wrote.

    For an owner whose machines all say that the list fails authentication: a stolen token wrote it.
    """
    try:
        number = open_operator(data).withdraw_slot_list(vault)
    except Exception as error:
        explain(error)
    print(json.dumps({"number": number}) if as_json else f"The newest list of keys is number {number} again.")


def _checked_email(email: str) -> str:
    local, _, domain = email.partition("@")
    if not local or not domain or any(letter.isspace() for letter in email) or len(email) > 254:
        raise typer.BadParameter(f"{email!r} is no e-mail address")
    return email


def _show_code(code: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"code": code}))
    else:
        print(code)
        print("Valid once, for seven days: muniment connect URL --code CODE", file=sys.stderr)


def _line(shown: Mapping[str, object]) -> str:
    return f"{shown['request']}  {shown['action']}  {shown['subject']}  {shown['state']}"


if __name__ == "__main__":
    admin_app()
