"""Consent receipts, in the shape of ISO/IEC TS 27560:2023: what was said, to which words, and the proof."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from muniment.server.privacy.consent.effect import State
from muniment.server.privacy.consent.models import ConsentEvent
from muniment.server.privacy.ledger.entries import proof_of
from muniment.server.privacy.statement import Statement

SCHEMA = "ISO/IEC TS 27560:2023"
_WITHDRAWAL = "/preferences"
_RIGHTS = "/requests"

Party = Mapping[str, str]
"""`party_name`, `party_url`, `party_email`… of the controller."""


def consent_receipt(
    event: ConsentEvent, statement: Statement, *, principal: str, controller: Party
) -> dict[str, Any]:
    """The receipt for one event about a purpose; `principal` is how the person is known to us.

    Names are those of the technical specification's sections: record, PII processing, parties, events. The
    part `ledger_proof` is ours, and `muniment-ledger-verify` reads it. Raises NoEntry once it was forgotten.
    """
    return {
        "schema_version": SCHEMA,
        "receipt_id": f"{event.entry}",
        "record_id": f"{event.pk}",
        "pii_principal_id": principal,
        "pii_processing": {
            "privacy_notice": f"/privacy/ (version {event.statement_version})",
            "notice_sha256": bytes(event.notice).hex(),
            "language": "en",
            "purposes": [_purpose(event, statement)],
        },
        "party_identification": [{"party_id": "controller", "party_role": "PII controller", **controller}],
        "events": [
            {
                "event_time": event.at.isoformat(timespec="seconds"),
                "validity_duration": "until withdrawn"
                if event.until is None
                else f"until {event.until.isoformat(timespec='seconds')}",
                "entity_id": principal,
                "event_type": "explicit",
                "event_state": _STATES[State(event.state)],
                "method": event.method,
                "mentions_global_privacy_control": event.mentions_gpc,
            }
        ],
        "ledger_proof": proof_of(event.entry),
    }


_STATES = {
    State.GRANTED: "consent given",
    State.DENIED: "consent refused",
    State.WITHDRAWN: "consent withdrawn",
    State.SIGNALLED: "objection received by signal",
}


def _purpose(event: ConsentEvent, statement: Statement) -> dict[str, Any]:
    declared = statement.purposes[event.purpose]
    return {
        "purpose": declared.text,
        "purpose_id": declared.name,
        "lawful_basis": declared.basis.value,
        "pii_information": [
            {"pii_type": name, "description": statement.categories[name].text}
            for name in sorted(declared.categories)
        ]
        if not event.fields
        else [{"pii_type": name} for name in event.fields],
        "pii_controllers": ["controller"],
        "collection_method": event.method,
        "recipient_third_parties": [event.recipient] if event.recipient else [],
        "withdrawal_method": _WITHDRAWAL,
        "privacy_rights": _RIGHTS,
    }
