"""Between which countries personal data moves freely.

The European Economic Area is one area (GDPR, article 44, and EEA Joint Committee decision 154/2018); every
other country is an area of its own. Adequacy decisions come and go: whoever relies on one names it as the
recipient's transfer basis.
"""

from __future__ import annotations

EEA = frozenset({
    "AT", "BE", "BG", "HR", "CY", "CZ", "DK", "EE", "FI", "FR", "DE", "GR", "HU", "IE", "IT", "LV", "LT",
    "LU", "MT", "NL", "PL", "PT", "RO", "SK", "SI", "ES", "SE", "IS", "LI", "NO",
})  # fmt: skip


def crosses_border(here: str, there: str) -> bool:
    """Whether data held in `here` would leave its area; both ISO 3166 codes. What is unknown is abroad."""
    if not here or not there:
        return True
    return here != there and not (here in EEA and there in EEA)
