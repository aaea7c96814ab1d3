"""A letter with an offer, and the attempt to send it. Import only after Django is set up."""

from __future__ import annotations

from datetime import datetime

from muniment.server.accounts.enrolment import find_account
from muniment.server.mail.letters import Promotion
from muniment.server.mail.send import send
from muniment.server.transactions import writing


def promote(email: str, *, now: datetime) -> bool:
    """Whether it was queued."""
    offer = Promotion("An offer", "Two vaults for the price of one.")
    with writing():
        return send(offer, to=find_account(email), now=now)
