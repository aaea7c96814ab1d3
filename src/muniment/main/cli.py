"""`muniment`: one command line for client, server and operator.

Commands are imported when they are called: a rescan must not pay for what it does not use. The table below is
all that `muniment --help` reads.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from muniment import __version__
from muniment.client.cli.options import HELP, take_global_options
from muniment.client.telling.output import Output
from muniment.model.errors import Interrupted, MunimentError, Outcome, UsageError

COMMANDS: dict[str, tuple[str, str]] = {
    "connect": ("muniment.client.cli.connect:connect", "Connect this machine to a vault, new or existing."),
    "backup": ("muniment.client.cli.backup:backup", "Back up paths, or a named set."),
    "sets": ("muniment.client.cli.sets:app", "Backup sets: named roots and rules."),
    "schedule": ("muniment.client.cli.schedule:app", "Back up regularly."),
    "snapshots": ("muniment.client.cli.look:snapshots", "List the snapshots of the vault."),
    "ls": ("muniment.client.cli.browse:ls", "List what a snapshot holds."),
    "find": ("muniment.client.cli.browse:find", "Find names in snapshots."),
    "stats": ("muniment.client.cli.look:stats", "How much the vault holds."),
    "status": ("muniment.client.cli.look:status", "Is everything backed up?"),
    "restore": ("muniment.client.cli.restore:restore", "Restore a snapshot, or a part of it."),
    "verify": ("muniment.client.cli.verify:verify", "Prove that snapshots can be read."),
    "devices": ("muniment.client.cli.devices:app", "Machines of the vault."),
    "events": ("muniment.client.cli.devices:events", "What happened to the vault."),
    "keys": ("muniment.client.cli.keys:app", "Who can open the vault."),
    "export": ("muniment.client.cli.export:export", "The vault as ordinary files, still sealed."),
    "serve": ("muniment.main.serve:serve_command", "Run the service."),
    "admin": ("muniment.main.admin:admin_app", "Accounts and codes of a service."),
}

_SQLITE_DAMAGE = (11, 26)
"""SQLITE_CORRUPT and SQLITE_NOTADB, without importing sqlite3 for `--help`."""

_OBSTACLES = frozenset(
    {
        errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.EIO, errno.EISDIR, errno.EMFILE, errno.ENOSPC,
        errno.ENOTDIR, errno.EPERM, errno.EROFS,
    }
)  # fmt: skip
"""What a machine may refuse anybody at any time."""

SERVER_COMMANDS = frozenset({"serve", "admin"})
_SERVER_NEEDS = "Install the server's part with `pip install 'muniment[server]'`."


class PlainCommand(TyperCommand):
    """Its usage shows what has to be given as `SNAPSHOT`, the way the reference does, not as `{SNAPSHOT}`."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.removeprefix("{").removesuffix("}") for piece in super().collect_usage_pieces(ctx)]


class LazyGroup(TyperGroup):
    """A group whose commands are imported on demand; its help is made from the table alone."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, (_, summary) in COMMANDS.items():
            self.commands[name] = TyperCommand(name, help=summary, rich_markup_mode=None)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS or getattr(ctx, "resilient_parsing", False):
            return self.commands.get(cmd_name)
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        try:
            home = import_module(module)  # house-rule: only-choke-points-dial, one of COMMANDS
            found = getattr(home, attribute)
        except ModuleNotFoundError as error:
            if cmd_name in SERVER_COMMANDS and not str(error.name).startswith("muniment"):
                raise UsageError(f"`muniment {cmd_name}` needs {error.name}", advice=_SERVER_NEEDS) from None
            raise
        if isinstance(found, typer.Typer):
            found.rich_markup_mode = None
            for command in found.registered_commands:
                command.cls = PlainCommand
            return typer.main.get_group(found)
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(cmd_name, cls=PlainCommand)(found)
        return typer.main.get_command(single)


app = typer.Typer(
    cls=LazyGroup,
    name="muniment",
    help="Online backup that its operator cannot read.",
    epilog=HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=True,
)


@app.callback(invoke_without_command=True)
def _whole(version: bool = typer.Option(False, "--version", help="Show the version.")) -> None:
    if version:
        print(f"muniment {__version__}")
        raise typer.Exit


def main() -> None:
    """The entry point: runs a command and ends the process.

    A client's does not end by way of Python: that takes a sixth of a second to give up, object by object,
    what the kernel takes back at once. Threads were joined and files closed by those who opened them.
    """
    try:
        run()
    except SystemExit as done:
        if _is_for_server(sys.argv[1:]):
            raise
        code = done.code if isinstance(done.code, int) else int(Outcome.DONE)
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:
            code = code or int(Outcome.FAILED)  # nobody got to read it
        os._exit(code)


def run(arguments: Sequence[str] | None = None) -> None:
    """One command; always leaves by SystemExit with a documented code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for_server = _is_for_server(words)
    as_json = "--json" in words
    try:
        sys.exit(_run_server_command(words) if for_server else _run_client_command(words))
    except MunimentError as error:
        Output.of_process(as_json=as_json).error(error)
        sys.exit(int(error.outcome))
    except typer.TyperException as error:
        sys.exit(_show_usage(error, as_json=as_json))
    except (KeyboardInterrupt, typer.Abort):
        stopped = Interrupted("stopped", advice="Nothing is lost; run the same command again to go on.")
        Output.of_process(as_json=as_json).error(stopped)
        sys.exit(int(Outcome.INTERRUPTED))
    except BrokenPipeError:
        # Whoever read our output has gone; say nothing more, also not while Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(int(Outcome.FAILED))
    except Exception as error:
        if "MUNIMENT_DEBUG" in os.environ:
            raise
        Output.of_process(as_json=as_json).error(_unexpected(error))
        sys.exit(int(Outcome.FAILED))


def _is_for_server(words: Sequence[str]) -> bool:
    return next((word for word in words if not word.startswith("-")), "") in SERVER_COMMANDS


def _unexpected(error: Exception) -> MunimentError:
    """One line for what nobody thought of; nothing of it may hide as a stack of code in somebody's mail."""
    what = f"{type(error).__name__}: {error}"
    if type(error).__module__ == "sqlite3":
        damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF in _SQLITE_DAMAGE
        advice = "See that its disk has room and can be written, then run the same command again."
        if damaged:
            advice = "It was set aside. Run the same command again: it is made anew from the vault."
        return MunimentError(f"the local state cannot be used ({what})", advice=advice)
    if isinstance(error, OSError) and error.errno in _OBSTACLES:
        place = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes) else ""
        return MunimentError(
            f"this machine refuses: {error.strerror}{place}",
            advice="See that there is room and that it can be written, then run the same command again."
            " What is stored stays.",
        )
    return MunimentError(
        f"this should not have happened ({what})",
        advice="What is stored stays. MUNIMENT_DEBUG=1 shows where it happened; please report that.",
    )


def _run_server_command(words: list[str]) -> int:
    return _exit_code(typer.main.get_command(app).main(words, prog_name="muniment", standalone_mode=False))


def _run_client_command(words: list[str]) -> int:
    options, rest = take_global_options(words)
    if not rest or rest[0].startswith("-"):
        return _exit_code(typer.main.get_command(app).main(rest, prog_name="muniment", standalone_mode=False))
    # Not imported for help or for the server: the client's parts are its own.
    invocation = import_module("muniment.main.client").compose(options)
    signal.signal(signal.SIGINT, _stopper(invocation))
    signal.signal(signal.SIGTERM, _stopper(invocation))
    command = typer.main.get_command(app)
    return _exit_code(command.main(rest, prog_name="muniment", standalone_mode=False, obj=invocation))


def _stopper(invocation: Any) -> Any:
    """First Ctrl-C: finish the pack in flight. Second: leave at once; the spool keeps what is sealed."""

    def stop(_number: int, _frame: object) -> None:
        if invocation.stop.is_set():
            raise KeyboardInterrupt
        invocation.stop.set()
        if not invocation.stoppable:
            raise KeyboardInterrupt
        invocation.output.note("Stopping soon; Ctrl-C again stops at once.")

    return stop


def _exit_code(value: object) -> int:
    return int(value) if isinstance(value, int) else int(Outcome.DONE)


def _show_usage(error: typer.TyperException, *, as_json: bool) -> int:
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        print(message, file=sys.stderr)
        return int(Outcome.USAGE)
    advice = f"See `{context.command_path} --help`." if context is not None else "See `muniment --help`."
    Output.of_process(as_json=as_json).error(UsageError(message, advice=advice))
    return int(Outcome.USAGE)


if __name__ == "__main__":
    main()
