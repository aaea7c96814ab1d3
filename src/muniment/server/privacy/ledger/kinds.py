"""Every kind of record that the ledger can hold. The name is part of the leaf: never rename one."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    CONSENT_GRANTED = "consent_granted"
    CONSENT_DENIED = "consent_denied"
    CONSENT_WITHDRAWN = "consent_withdrawn"
    SIGNAL_HONOURED = "signal_honoured"
    ACCOUNT_REGISTERED = "account_registered"
    ADDRESS_CONFIRMED = "address_confirmed"
    GUARDIAN_AGREED = "guardian_agreed"
    GUARDIAN_REFUSED = "guardian_refused"
    CHILD_FORGOTTEN = "child_forgotten"
    VERSION_POSTED = "version_posted"
    VERSION_ANNOUNCED = "version_announced"
    VERSION_IN_FORCE = "version_in_force"
    VERSION_ACCEPTED = "version_accepted"
