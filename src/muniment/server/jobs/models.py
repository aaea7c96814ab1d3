"""One row for each job, and one for each day that a daily job has done. Neither is about anybody."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from muniment.server.privacy.registry import Placement, public


class Job(models.Model):
    """What processes agree by: who runs it now, and when it runs next."""

    subject_path: ClassVar[str] = ""
    placement: ClassVar[Placement] = Placement.REGION

    name = public(models.CharField(max_length=40, primary_key=True), why="the name of a work of the program")
    due_at = public(models.DateTimeField(), why="when the program runs it next")
    well_at = public(models.DateTimeField(), why="when it last succeeded, or was first known")
    holder = public(
        models.CharField(max_length=32, blank=True), why="random digits of the process that runs it"
    )
    beat = public(models.BigIntegerField(default=0), why="counts while that process lives")
    started_at = public(models.DateTimeField(null=True), why="when it last began")
    ended_at = public(models.DateTimeField(null=True), why="when it last ended")
    took_ms = public(models.BigIntegerField(null=True), why="how long it took")
    failures = public(models.IntegerField(default=0), why="how often it failed since it last succeeded")
    error = public(models.CharField(max_length=80, blank=True), why="the class of the last failure, no text")


class DayDone(models.Model):
    """A daily job runs once for a day, wherever clocks jump."""

    subject_path: ClassVar[str] = ""
    placement: ClassVar[Placement] = Placement.REGION

    id = public(models.BigAutoField(primary_key=True), why="a row number, meaningless outside this database")
    job = public(models.CharField(max_length=40), why="the name of a work of the program")
    day = public(models.DateField(), why="a day whose work is done")

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["job", "day"], name="day_done_once")]
