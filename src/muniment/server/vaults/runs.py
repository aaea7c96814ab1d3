"""Reports of backup runs: outcome, counts, a rounded size."""

from __future__ import annotations

import msgspec

from muniment.model.packs import MIB
from muniment.server.accounts.models import Device
from muniment.server.deployment import Deployment
from muniment.server.refusals import malformed
from muniment.server.transactions import writing
from muniment.server.vaults.access import Access, check_still_welcome
from muniment.server.vaults.events import record_event
from muniment.server.vaults.kinds import EventKind
from muniment.server.vaults.models import Run
from muniment.server.vaults.rates import DAY, check_rate
from muniment.server.vaults.refs import parse_ref
from muniment.wire import messages as m


def report_run(deployment: Deployment, access: Access, report: m.RunReport) -> m.Stored:
    """Record the report, once per session and set."""
    bound = report.bytes_bound
    if bound < MIB or bound & (bound - 1):
        raise malformed("bytes_bound is not rounded to a power of two of at least 1 MiB")
    now, device = deployment.now(), access.writer
    session = None if report.session is None else parse_ref(report.session)
    set_ref = parse_ref(report.set_id)
    with writing():
        check_still_welcome(access)
        if session is not None and Run.objects.filter(session_ref=session, set_ref=set_ref).exists():
            return m.Stored(created=False)
        lately = Run.objects.filter(device=device, received_at__gt=now - DAY).order_by("-received_at")
        check_rate(lately.values_list("received_at", flat=True), most=deployment.config.visits, now=now)
        Run.objects.create(
            vault=access.vault,
            device=device,
            session_ref=session,
            set_ref=set_ref,
            outcome=report.outcome,
            coverage=msgspec.to_builtins(report.coverage),
            bytes_bound=bound,
            seconds=report.seconds,
            client_version=report.client_version,
            received_at=now,
        )
        Device.objects.filter(pk=device.pk).update(last_seen_at=now)
        record_event(access.vault, EventKind.RUN_REPORTED, now=now, device=device, outcome=report.outcome)
    return m.Stored(created=True)
