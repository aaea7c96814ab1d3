"""What of a person's vaults goes when the person goes: every sealed object, then the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from uuid import UUID

from muniment.server.deployment import Deployment
from muniment.server.privacy.requests.holds import hold_on
from muniment.server.vaults.closing import close_vault
from muniment.server.vaults.models import ClosedVault, Vault


class VaultEraser:
    """Closes every vault of an account; floors of retention do not apply, a legal hold does."""

    name = "vaults"

    def erase(self, deployment: Deployment, account: int) -> Mapping[str, int]:
        def held(vault: UUID) -> str | None:  # noqa: ARG001
            return hold_on(account, now=deployment.now())

        for vault in Vault.objects.filter(owner=account).values_list("ref", flat=True):
            close_vault(deployment, vault, holds=held)
        total: Counter[str] = Counter()
        for closed in ClosedVault.objects.filter(owner=account):
            total.update({"vaults": 1, **closed.deleted})
        return total
