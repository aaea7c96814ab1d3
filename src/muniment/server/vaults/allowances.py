"""What a vault may hold."""

from __future__ import annotations

from muniment.server.accounts.models import Account
from muniment.server.deployment import Deployment
from muniment.server.transactions import writing
from muniment.server.vaults.events import record_event
from muniment.server.vaults.kinds import EventKind
from muniment.server.vaults.models import Vault
from muniment.server.vaults.reserves import share_out


def set_allowance(deployment: Deployment, account: Account, size: int) -> None:
    """Of each vault of the account, later ones too. Below what is used, only new uploads are refused."""
    now = deployment.now()
    with writing():
        Account.objects.filter(pk=account.pk).update(allowance=size)
        for vault in Vault.objects.select_for_update().filter(owner=account):
            Vault.objects.filter(pk=vault.pk).update(allowance=size)
            share_out(vault, share=deployment.config.reserve_share)
            record_event(vault, EventKind.ALLOWANCE_CHANGED, now=now, allowance=str(size))
