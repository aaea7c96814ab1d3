"""Every code of the protocol becomes the error that callers decide by."""

from __future__ import annotations

import pytest

from muniment.client.transport.refusals import CommitRefused, error_of, is_retriable
from muniment.model.errors import (
    DeviceCloned,
    MunimentError,
    NeedsOwnerConfirmation,
    NotGranted,
    Outcome,
    Refused,
    ServerUnreachable,
    SessionExpired,
    VaultFull,
)
from muniment.wire.errors import RULES, ErrorCode
from muniment.wire.messages import ErrorReply


def refused(code: str, **details: object) -> MunimentError:
    reply = ErrorReply(error=code, message="said the server", **details)  # type: ignore[arg-type]
    return error_of(reply, status=RULES[ErrorCode(code)].status)


@pytest.mark.parametrize(
    ("code", "kind", "outcome"),
    [
        ("unauthenticated", NotGranted, Outcome.REFUSED),
        ("not_granted", NotGranted, Outcome.REFUSED),
        ("code_spent", NotGranted, Outcome.REFUSED),
        ("vault_full", VaultFull, Outcome.REFUSED),
        ("pending_cap", Refused, Outcome.REFUSED),
        ("needs_confirmation", NeedsOwnerConfirmation, Outcome.REFUSED),
        ("session_expired", SessionExpired, Outcome.FAILED),
        ("commit_conflict", CommitRefused, Outcome.FAILED),
        ("device_cloned", DeviceCloned, Outcome.INTEGRITY),
        ("storage_full", ServerUnreachable, Outcome.FAILED),
    ],
)
def test_codes_become_errors(code: str, kind: type[MunimentError], outcome: Outcome) -> None:
    error = refused(code, request="0" * 32)
    assert isinstance(error, kind)
    assert error.outcome is outcome


def test_every_code_is_some_error_with_the_servers_words() -> None:
    for code in ErrorCode:
        error = refused(code, request="r")
        assert isinstance(error, MunimentError)
        assert error.message


def test_data_comes_through() -> None:
    full = refused("vault_full", short_by=77)
    assert isinstance(full, VaultFull)
    assert full.short_by == 77
    assert "larger allowance" in full.advice
    assert refused("vault_full", short_by=1, advice="Kept for others.").advice == "Kept for others."
    conflict = refused("commit_conflict", missing=["aa" * 16], reason="missing")
    assert isinstance(conflict, CommitRefused)
    assert (conflict.missing, conflict.reason) == (("aa" * 16,), "missing")


def test_a_hostile_message_cannot_steer_a_terminal() -> None:
    reply = ErrorReply(error="malformed", message="\x1b[2Jgone\r\n", advice="\x07" * 900)
    error = error_of(reply, status=400)
    assert error.message == "[2Jgone"
    assert error.advice == ""


def test_only_what_may_pass_is_repeated() -> None:
    for code, rule in RULES.items():
        assert is_retriable(rule.status, code) is rule.retry
    assert is_retriable(502, "")
    assert not is_retriable(404, "")
