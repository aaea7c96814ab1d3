"""Whether a recipient is bound today: what the gate, beacons, mail and the allow-list all ask."""

from __future__ import annotations

from datetime import date, timedelta

from muniment.server.privacy.terms import Recipient

REVIEW_LASTS = timedelta(days=365)


def holds(recipient: Recipient, today: date) -> bool:
    """Whether its contract holds on that day, and how it protects data was reviewed within a year."""
    return under_contract(recipient, today) and was_reviewed(recipient, today)


def under_contract(recipient: Recipient, today: date) -> bool:
    begun = recipient.begins is None or recipient.begins <= today
    return bool(recipient.contract) and begun and recipient.expires is not None and today < recipient.expires


def was_reviewed(recipient: Recipient, today: date) -> bool:
    reviewed = recipient.reviewed
    return reviewed is not None and timedelta(0) <= today - reviewed <= REVIEW_LASTS
