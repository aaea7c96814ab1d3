"""What the ledger of this process holds, read one by one.

Import only after Django is set up (tests/unit/server/conftest.py does that).
"""

from __future__ import annotations

from muniment.server.privacy.ledger.entries import Entry, entry_at
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.ledger.models import Opening


def entries_of_kind(*kinds: Kind) -> list[Entry]:
    """The records of these kinds whose openings are still there, oldest first."""
    rows = Opening.objects.filter(leaf__kind__in=[kind.value for kind in kinds])
    return [entry_at(index) for index in rows.order_by("leaf_id").values_list("leaf_id", flat=True)]
