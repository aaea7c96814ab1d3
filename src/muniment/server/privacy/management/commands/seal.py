"""`python -m muniment.server.manage seal`: say that the statement's version is finished."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from muniment.server.privacy.seals import AlreadySealed, read_seals, sealed_with, written
from muniment.server.privacy.statement import read_statement

_FILE = Path(__file__).parents[2] / "seals.toml"


class Command(BaseCommand):
    requires_system_checks: list[str] = []  # noqa: RUF012, Django's own attribute
    help = "Seal the version that statement.toml names; a sealed version never changes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--unreleased", action="store_true",
            help="seal it again although it is sealed: only while nobody was ever shown it",
        )  # fmt: skip

    def handle(self, *args: Any, unreleased: bool, **options: Any) -> None:
        statement = read_statement()
        seals = read_seals()
        if unreleased and statement.version == max(seals, default=statement.version):
            seals.pop(statement.version, None)
        try:
            sealed = sealed_with(seals, statement.version, statement.digest)
        except AlreadySealed as error:
            raise CommandError(f"{error}: give the statement a new version") from error
        _FILE.write_text(written(sealed), encoding="utf-8")
        self.stdout.write(f"version {statement.version} is sealed: {statement.digest}")
