"""Tries to send a promotion to one address, without the two people whom a letter takes.

    python -m tests.support.promoting EMAIL --data DIR      # prints true where it was queued, false where not

A process of its own: Django can be set up once in each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from django.utils.module_loading import import_string

from muniment.main.serve import DATABASE_URL, load_embedded
from muniment.server.config import ServerConfig
from tests.support.databases import environment_for
from tests.support.nursery import REPOSITORY


def try_to_promote(data: Path, email: str) -> bool:
    """Whether the promotion was queued for the address; at the server that serves `data`."""
    words = [sys.executable, "-m", "tests.support.promoting", email, "--data", str(data)]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=120, check=False, cwd=REPOSITORY,
        env={**os.environ, **environment_for(data)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return bool(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("email")
    parser.add_argument("--data", type=Path, required=True)
    chosen = parser.parse_args()
    config = ServerConfig(data=chosen.data, database_url=os.environ.get(DATABASE_URL, ""))
    deployment = load_embedded("Operator", config).at(config).deployment
    # By name: it uses models, which exist only from here on.
    print(json.dumps(import_string("tests.support.promotion.promote")(chosen.email, now=deployment.now())))


if __name__ == "__main__":
    main()
