"""One error class per decision a caller can take, each carrying the data that decision needs.

`Outcome` is the single table of what an error means to a script: the process exit code.
"""

from __future__ import annotations

from enum import IntEnum


class Outcome(IntEnum):
    """Exit codes of every command, a documented interface."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INCOMPLETE = 3
    REFUSED = 4
    INTEGRITY = 5
    INTERRUPTED = 130


class MunimentError(Exception):
    """Base of all errors we raise on purpose. `advice` says what to do about it."""

    outcome: Outcome = Outcome.FAILED

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice


class UsageError(MunimentError):
    """The command line or configuration asks for something that makes no sense."""

    outcome = Outcome.USAGE


class IntegrityError(MunimentError):
    """Stored or received bytes are not what they should be. Nothing derived from them is used."""

    outcome = Outcome.INTEGRITY


_MAY_BE_ELSEWHERE = (
    "Tell the operator. `muniment verify` says what is lost; of the others that `muniment snapshots` lists,"
    " some may be whole."
)


class DamagedObject(IntegrityError):
    """A block, page, pack, head or list that fails authentication, or does not parse after it."""

    def __init__(self, what: str, *, why: str, advice: str = _MAY_BE_ELSEWHERE) -> None:
        super().__init__(f"{what} is damaged: {why}", advice=advice)
        self.what, self.why = what, why


class NewerFormat(MunimentError):
    """Written by a newer version of the format. Nothing is touched."""

    def __init__(self, what: str, *, version: int, known: int) -> None:
        super().__init__(
            f"{what} has format version {version}; this program reads up to {known}",
            advice="Install a newer version of muniment on this machine.",
        )
        self.version, self.known = version, known


class VaultKeyReplaced(IntegrityError):
    """A slot opened to another key than the one this device or kit has pinned."""


class WrongSecret(MunimentError):
    """The passphrase, kit or device key does not open the slot (or the slot was altered)."""


class MistypedCode(UsageError):
    """A kit or enrolment code whose checksum does not match."""


class WeakKeyDerivation(IntegrityError):
    """Key-derivation parameters below the floor or above the ceiling that this client enforces."""


class RollbackDetected(IntegrityError):
    """The server shows an older, forked or shorter history than this device has already seen."""


class DeviceCloned(IntegrityError):
    """Another installation commits as this device: enrol this machine anew."""


class UnknownSnapshot(MunimentError):
    """No snapshot matches what was asked for."""


class UnsafePath(IntegrityError):
    """A tree names a path that would leave the target. Nothing outside is written."""


class Refused(MunimentError):
    """The server refuses, and repeating will not help."""

    outcome = Outcome.REFUSED


class VaultFull(Refused):
    """The allowance does not hold what was to be stored."""

    def __init__(self, *, short_by: int, advice: str = "") -> None:
        super().__init__(
            f"the vault's allowance is short by {short_by} bytes",
            advice=advice
            or "Ask for a larger allowance, or exclude something and run again; what is stored stays.",
        )
        self.short_by = short_by


class NotGranted(Refused):
    """The token is unknown, revoked, expired, or lacks the right."""


class NeedsOwnerConfirmation(Refused):
    """The request is recorded and waits for the owner's confirmation."""

    def __init__(self, request: str) -> None:
        super().__init__(
            f"this needs the owner's confirmation: request {request}",
            advice="Confirm it in the portal, or have the operator run `muniment admin confirm`.",
        )
        self.request = request


class SessionExpired(MunimentError):
    """The session is over; packs sent under it stay and a new session goes on."""


class ServerUnreachable(MunimentError):
    """No answer after all retries. Running again resumes."""


class UntrustedServer(IntegrityError):
    """The server's certificate or key is not the pinned one."""


class TargetFull(MunimentError):
    """The restore target has no room left, or cannot be written."""


class AlreadyRunning(MunimentError):
    """Another run of the same set holds the lock."""


class Interrupted(MunimentError):
    """Stopped on request; what is sealed stays and the next run resumes."""

    outcome = Outcome.INTERRUPTED
