"""Plants a token in every column that tells about a person, and searches whatever a server keeps for them.

    python -m tests.support.canary plant EMAIL --data DIR      # prints {"table.column": token, …}
    python -m tests.support.canary rows --data DIR             # prints [[table, {column: value}], …]
    python -m tests.support.canary deliver --data DIR          # the mailbox a week later

A process of its own: Django can be set up once in each. Made from the registry: a table without a row about
the person gets one, a column without a token gets one, and where neither can be done this fails.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from django.utils.module_loading import import_string

from muniment.main.serve import DATABASE_URL, load_embedded
from muniment.server.config import ServerConfig
from muniment.server.privacy.purposes import Purpose, afresh


@afresh(*Purpose)
def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["plant", "rows", "deliver"])
    parser.add_argument("email", nargs="?", default="")
    parser.add_argument("--data", type=Path, required=True)
    chosen = parser.parse_args()
    config = ServerConfig(data=chosen.data, database_url=os.environ.get(DATABASE_URL, ""))
    operator = load_embedded("Operator", config).at(config)
    act = import_string(f"tests.support.planting.{chosen.command}")
    if chosen.command == "plant":
        print(json.dumps(act(chosen.email)))
    elif chosen.command == "rows":
        print(json.dumps(list(act()), default=import_string("tests.support.planting.said")))
    else:
        act(operator.deployment)


if __name__ == "__main__":
    main()
