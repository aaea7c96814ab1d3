"""What happens when an account turns out to be a child's: it ends at once, and all of it is deleted."""

from __future__ import annotations

from muniment.server.accounts.models import Account, WebSession
from muniment.server.deployment import Deployment
from muniment.server.privacy.ledger.entries import record
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.requests.machine import open_request, run_request, verify_request
from muniment.server.privacy.requests.models import Channel
from muniment.server.privacy.requests.models import Kind as Asked
from muniment.server.transactions import writing


def forget_child(deployment: Deployment, account: Account) -> None:
    """Whoever reported it. There is no time to change one's mind: we must not know what we know.

    Raises HeldByLaw; then nobody can sign in any more, and the rest is tried again with all requests.
    """
    now = deployment.now()
    with writing():
        Account.objects.filter(pk=account.pk).update(is_active=False)
        WebSession.objects.filter(account=account).delete()
        record(Kind.CHILD_FORGOTTEN, clause="P48", payload={}, now=now)
        ref = open_request(Asked.ERASE, channel=Channel.POST, email=account.email, now=now, subject=account)
        verify_request(ref, now=now)
    run_request(deployment, ref)
