"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# No deadline for single examples: how long one takes says how busy the machine is, not whether it is right.
settings.register_profile("muniment", parent=settings.default, deadline=None)
settings.load_profile("muniment")
