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
    MAIL_QUEUED = "mail_queued"
    OPTED_OUT = "opted_out"
    RETENTION_SWEPT = "retention_swept"
    REQUEST_RECEIVED = "request_received"
    REQUEST_VERIFIED = "request_verified"
    REQUEST_DONE = "request_done"
    REQUEST_REFUSED = "request_refused"
    REQUEST_TAKEN_BACK = "request_taken_back"
    REQUEST_LAPSED = "request_lapsed"
    REQUEST_ALARM = "request_alarm"
    USE_RESTRICTED = "use_restricted"
    HOLD_PLACED = "hold_placed"
    ERASED = "erased"
    ERASURE_REPLAYED = "erasure_replayed"
    VERSION_POSTED = "version_posted"
    VERSION_ANNOUNCED = "version_announced"
    VERSION_IN_FORCE = "version_in_force"
    VERSION_ACCEPTED = "version_accepted"
