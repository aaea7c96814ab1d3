"""One row for each night's sweep: what keeps two processes from doing it twice."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from muniment.server.privacy.registry import Placement, public


class Sweep(models.Model):
    subject_path: ClassVar[str] = ""
    placement: ClassVar[Placement] = Placement.REGION

    day = public(models.DateField(primary_key=True), why="a day on which old records were deleted")
    counts = public(models.JSONField(default=dict), why="how many values, by column")
    done_at = public(models.DateTimeField(null=True), why="when the sweep of the day was complete")
