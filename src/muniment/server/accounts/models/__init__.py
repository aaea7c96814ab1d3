"""Rows of people and their machines. `ref` is the id that the world sees: 16 random bytes."""

from __future__ import annotations

from muniment.server.accounts.models.devices import Device, EnrolmentCode
from muniment.server.accounts.models.people import Account, AgeBand, Edition, Guardianship, Origin, Profile
from muniment.server.accounts.models.sign_in import Attempts, ScreenTally, SecurityEvent, WebSession

__all__ = [
    "Account",
    "AgeBand",
    "Attempts",
    "Device",
    "Edition",
    "EnrolmentCode",
    "Guardianship",
    "Origin",
    "Profile",
    "ScreenTally",
    "SecurityEvent",
    "WebSession",
]
