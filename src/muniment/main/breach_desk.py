"""The register of breaches as the operator's commands take it. Imported after Django is set up."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from muniment.server.deployment import Deployment
from muniment.server.privacy.breaches import register
from muniment.server.privacy.breaches.models import Risk
from muniment.server.privacy.breaches.notice import notice_of
from muniment.server.privacy.operator import read_operator


@dataclass(frozen=True, slots=True)
class BreachDesk:
    """Each raises what `register` does."""

    deployment: Deployment

    def enter(self, **found: Any) -> UUID:
        return register.enter(register.Found(**found), now=self.deployment.now())

    def widen(
        self, ref: UUID, *, people: Collection[str], everybody: bool, categories: Collection[str]
    ) -> None:
        now = self.deployment.now()
        register.widen(ref, people=people, everybody=everybody, categories=categories, now=now)

    def judge(self, ref: UUID, risk: str, *, consequences: str, measures: str) -> None:
        """ValueError besides: there is no such risk."""
        now = self.deployment.now()
        register.judge(ref, Risk(risk), consequences=consequences, measures=measures, now=now)

    def notice(self, ref: UUID) -> str:
        return notice_of(ref, read_operator(self.deployment.config.data))

    def report(self, ref: UUID, *, authority: str, at: datetime | None, why_late: str) -> None:
        """`at` is None for now."""
        now = self.deployment.now()
        register.report(ref, authority=authority, at=at or now, why_late=why_late, now=now)

    def close(self, ref: UUID, *, outcome: str) -> None:
        register.close(ref, outcome=outcome, now=self.deployment.now())

    def list(self) -> list[register.Seen]:
        return register.read_register(now=self.deployment.now())
