"""What the gate has to know about a person, read when it is asked."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from muniment.server.privacy.consent.choices import Subject, snapshot
from muniment.server.privacy.gate.decide import SubjectFacts
from muniment.server.privacy.purposes import Purpose, purpose
from muniment.server.privacy.requests.objecting import objections

ADULT = "adult"


@purpose(Purpose.MINORS)
def facts_of(account: Any, *, country: str, now: datetime) -> SubjectFacts:
    """`country` is where the data is held. Of whom we do not know that they are of age, they are not."""
    is_restricted, objected = objections(account.pk)
    return SubjectFacts(
        country=country,
        is_adult=getattr(account, "age_band", "") == ADULT,
        is_restricted=is_restricted,
        objected=objected,
        consents=snapshot(Subject(account), now),
    )
