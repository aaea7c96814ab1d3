"""Why the service says no. One class, one code per decision the other side can take."""

from __future__ import annotations

from muniment.wire.errors import RULES, ErrorCode
from muniment.wire.messages import HeadRecord


class Refusal(Exception):
    """Becomes an ErrorReply. `message` never holds personal data: it is logged by code only, but travels."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        advice: str = "",
        short_by: int | None = None,
        request: str | None = None,
        missing: tuple[str, ...] = (),
        reason: str | None = None,
        newest: HeadRecord | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.advice = code, message, advice
        self.short_by, self.request, self.missing = short_by, request, missing
        self.reason, self.newest = reason, newest
        self.retry_after = retry_after if retry_after is not None else _RETRY_AFTER.get(code)

    @property
    def status(self) -> int:
        return RULES[self.code].status


_RETRY_AFTER = {ErrorCode.TOO_MANY: 60.0, ErrorCode.UNAVAILABLE: 2.0, ErrorCode.STORAGE_FULL: 60.0}
"""Seconds that a client is asked to wait, where repeating may help."""


def malformed(message: str) -> Refusal:
    return Refusal(ErrorCode.MALFORMED, message)


def not_found(what: str, *, reason: str | None = None) -> Refusal:
    return Refusal(ErrorCode.NOT_FOUND, f"no such {what}", reason=reason)


def not_granted(message: str = "the token has no such right") -> Refusal:
    return Refusal(ErrorCode.NOT_GRANTED, message)
