"""What the server does by itself, and when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import time, timedelta

from muniment.server.accounts.unconfirmed import forget_unconfirmed
from muniment.server.accounts.web_sessions import forget_ended_sessions
from muniment.server.deployment import Deployment
from muniment.server.jobs.schedule import Daily, Every, Timed
from muniment.server.mail.delivery import deliver_due, mail_is_due
from muniment.server.mail.intake import take_in_new
from muniment.server.mail.statement import advance_versions
from muniment.server.privacy.disclosures.orders import end_gags
from muniment.server.privacy.requests.machine import advance_requests
from muniment.server.privacy.retention.sweep import sweep_once
from muniment.server.privacy.succession.handing_over import tell_everybody
from muniment.server.vaults.closing import clear_closed_vaults
from muniment.server.vaults.leftovers import clear_expired_uploads

_OFTEN = Every(timedelta(minutes=10))
_AFTER_MIDNIGHT = Daily(time(0, 5))

Work = Callable[[Deployment], int | None]


def _advance_requests(deployment: Deployment) -> int:
    return advance_requests(deployment).done


def _sweep(deployment: Deployment) -> int:
    return sum(sweep_once(deployment).values())


def _at_its_time(work: Callable[..., int | None]) -> Work:
    return lambda deployment: work(now=deployment.now())


TIMETABLE: tuple[Timed, ...] = (
    Timed("mail", _OFTEN, deliver_due, sooner=mail_is_due),
    Timed("intake", _OFTEN, take_in_new),
    Timed("requests", _OFTEN, _advance_requests),
    Timed("gags", _OFTEN, end_gags),
    Timed("versions", _OFTEN, advance_versions),
    Timed("succession", _OFTEN, _at_its_time(tell_everybody)),
    Timed("unconfirmed", _OFTEN, _at_its_time(forget_unconfirmed)),
    Timed("sessions", _OFTEN, _at_its_time(forget_ended_sessions)),
    Timed("retention", _AFTER_MIDNIGHT, _sweep, patience=timedelta(hours=6)),
    Timed("uploads", _OFTEN, clear_expired_uploads),
    Timed("vaults", _OFTEN, clear_closed_vaults),
)
