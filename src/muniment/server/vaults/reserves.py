"""What the devices of a vault may take of its allowance: a common room, and a little kept for each.

A pack takes of the common room first; when that is used up, of what is kept for its sender, and never of what
is kept for another. So nothing that one device sends, however it commits it, leaves the others without room.
"""

from __future__ import annotations

from muniment.server.vaults.hot_rows import change_rows
from muniment.server.vaults.models import Grant, Vault

_MOST_KEPT = 0.5
"""Of the allowance, for all the others together: many idle devices must not starve the one that works."""


def share_out(vault: Vault, *, share: float) -> None:
    """Keep room for each device anew. Call it inside `writing()` when the devices or the allowance change.

    Each gets `share` of the allowance; less where that would keep more than half of it from any one device,
    or where no more is free. A device that is alone has nobody to keep room from.
    """
    change_rows("hold_vault", vault.pk)
    fresh = Vault.objects.get(pk=vault.pk)
    Grant.objects.filter(vault=vault).update(reserved=0)
    welcome = Grant.objects.filter(vault=vault, device__revoked_at=None)
    count = welcome.count()
    if count > 1:
        part = int(fresh.allowance * min(share, _MOST_KEPT / (count - 1)))
        free = max(0, fresh.allowance - fresh.used)
        welcome.update(reserved=min(part, free // count))
