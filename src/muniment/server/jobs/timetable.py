"""What the server does by itself, and when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import time, timedelta

from muniment.server.accounts.attempts import forget_counters
from muniment.server.accounts.unconfirmed import forget_unconfirmed
from muniment.server.accounts.web_sessions import forget_ended_sessions
from muniment.server.deployment import Deployment
from muniment.server.jobs.schedule import Daily, Every, Timed
from muniment.server.mail.delivery import deliver_due, mail_is_due
from muniment.server.mail.intake import take_in_new
from muniment.server.mail.letters import send_letters
from muniment.server.mail.statement import advance_versions
from muniment.server.privacy.breaches.register import advance_breaches, people_wait
from muniment.server.privacy.disclosures.orders import end_gags
from muniment.server.privacy.ledger.kept import is_behind, keep_checkpoint
from muniment.server.privacy.purposes import Purpose
from muniment.server.privacy.requests.erasing import retry_replays
from muniment.server.privacy.requests.machine import advance_requests
from muniment.server.privacy.retention.sweep import sweep_once
from muniment.server.privacy.succession.handing_over import tell_everybody
from muniment.server.vaults.closing import clear_closed_vaults
from muniment.server.vaults.leftovers import clear_expired_uploads

_OFTEN = Every(timedelta(minutes=10))
_AFTER_MIDNIGHT = Daily(time(0, 5))

Work = Callable[[Deployment], int | None]


def _advance_requests(deployment: Deployment) -> int:
    """Also erases whom a restored database brought back and could not be erased when the server started."""
    return advance_requests(deployment).done + retry_replays(deployment).erased


def _sweep(deployment: Deployment) -> int:
    return sum(sweep_once(deployment).values())


def _keep_checkpoint(deployment: Deployment) -> None:
    """Fails, and stays failing, where the ledger went back while it is served."""
    keep_checkpoint(deployment.config.data)


def _ledger_grew(deployment: Deployment) -> bool:
    return is_behind(deployment.config.data)


def _at_its_time(work: Callable[..., int | None]) -> Work:
    return lambda deployment: work(now=deployment.now())


_MAIL = (Purpose.SERVICE_MAIL,)
_ASKED_FOR = (Purpose.ANNOUNCEMENT, Purpose.PROMOTION, Purpose.SURVEY)
_RIGHTS = (Purpose.REQUESTS,)
"""Ending what is past its period is a right of people, too."""
_VAULTS = (Purpose.BACKUP, Purpose.METERING)

TIMETABLE: tuple[Timed, ...] = (
    Timed("mail", _OFTEN, deliver_due, _MAIL, sooner=mail_is_due),
    Timed("letters", _OFTEN, send_letters, (*_ASKED_FOR, *_MAIL)),
    Timed("intake", _OFTEN, take_in_new, _RIGHTS),
    Timed("requests", _OFTEN, _advance_requests, _RIGHTS),
    Timed("gags", _OFTEN, end_gags, (Purpose.LEGAL_ORDER, *_MAIL)),
    Timed("breaches", _OFTEN, _at_its_time(advance_breaches), (Purpose.BREACH, *_MAIL), sooner=people_wait),
    Timed("versions", _OFTEN, advance_versions, (Purpose.AGREEMENT, *_MAIL)),
    Timed("succession", _OFTEN, _at_its_time(tell_everybody), (Purpose.SUCCESSION, *_MAIL)),
    Timed("unconfirmed", _OFTEN, _at_its_time(forget_unconfirmed), _RIGHTS),
    Timed("sessions", _OFTEN, _at_its_time(forget_ended_sessions), _RIGHTS),
    Timed("counters", _OFTEN, _at_its_time(forget_counters)),
    Timed("retention", _AFTER_MIDNIGHT, _sweep, _RIGHTS, patience=timedelta(hours=6)),
    Timed("uploads", _OFTEN, clear_expired_uploads, _VAULTS),
    Timed("vaults", _OFTEN, clear_closed_vaults, _VAULTS),
    Timed("ledger", _OFTEN, _keep_checkpoint, sooner=_ledger_grew),
)
