"""`muniment serve` or `muniment admin` with what no option sets: periods and bounds that tests shorten.

python -m tests.support.configured '{"removal_delay": 1}' serve --data DIR --json
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Mapping

import typer

from muniment.main import admin, operating, serve
from muniment.server.config import ServerConfig


def configure(changes: Mapping[str, float]) -> None:
    """From here on, whatever command runs in this process has these fields set so."""
    configured = functools.partial(ServerConfig, **changes)
    for module in (operating, serve):  # where commands make a configuration
        module.ServerConfig = configured  # type: ignore[attr-defined]


def main() -> None:
    changes, command = json.loads(sys.argv[1]), sys.argv[2]
    del sys.argv[1:3]
    configure(changes)
    if command == "serve":
        typer.run(serve.serve_command)
    else:
        admin.admin_app()


if __name__ == "__main__":
    main()
