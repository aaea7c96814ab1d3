"""Rows of the ledger. Leaves, nodes and checkpoints stay for ever; openings go with whom they are about."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models

from muniment.server.privacy.registry import Erase, Placement, personal, public

_PROOF = "part of the tree, which names nobody: a person is only in the opening"


class Head(models.Model):
    """The tree as it stands, in one row; whoever appends holds its lock."""

    subject_path: ClassVar[str] = ""
    placement: ClassVar[Placement] = Placement.REGION

    id = public(models.SmallIntegerField(primary_key=True), why="there is one row, number 1")
    size = public(models.BigIntegerField(), why=_PROOF)
    frontier = public(models.BinaryField(), why=_PROOF)
    note = public(models.TextField(), why="the signed checkpoint of this size")
    hour = public(models.CharField(max_length=13), why=_PROOF)


class LeafRow(models.Model):
    """One record. `number` counts from 0 without gaps; `hash` is that of the other columns."""

    subject_path: ClassVar[str] = ""
    placement: ClassVar[Placement] = Placement.REGION

    number = public(models.BigIntegerField(primary_key=True), why=_PROOF)
    kind = public(models.CharField(max_length=40), why=_PROOF)
    clause = public(models.CharField(max_length=40), why=_PROOF)
    hour = public(models.CharField(max_length=13), why=_PROOF)
    commitment = public(models.BinaryField(max_length=32), why=_PROOF)
    hash = public(models.BinaryField(max_length=32), why=_PROOF)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["kind", "number"], name="ledger_leaf_by_kind")]


class Node(models.Model):
    """A complete subtree above level 0, numbered in order: leaf i would be 2i, its parent lies between."""

    subject_path: ClassVar[str] = ""
    placement: ClassVar[Placement] = Placement.REGION

    place = public(models.BigIntegerField(primary_key=True), why=_PROOF)
    hash = public(models.BinaryField(max_length=32), why=_PROOF)


class CheckpointRow(models.Model):
    """The last checkpoint of an hour in which something was recorded: what outsiders may have seen."""

    subject_path: ClassVar[str] = ""
    placement: ClassVar[Placement] = Placement.REGION

    size = public(models.BigIntegerField(primary_key=True), why=_PROOF)
    hour = public(models.CharField(max_length=13), why=_PROOF)
    note = public(models.TextField(), why=_PROOF)


class Opening(models.Model):
    """What a leaf commits to. Without a subject it is about nobody."""

    subject_path: ClassVar[str] = "subject"
    placement: ClassVar[Placement] = Placement.REGION

    leaf = public(
        models.OneToOneField(LeafRow, primary_key=True, on_delete=models.PROTECT, related_name="opening"),
        why=_PROOF,
    )
    subject = personal(
        models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="+"),
        category="record", purposes=("accountability",), keep="account", erase=Erase.DELETE,
    )  # fmt: skip
    salt = personal(
        models.BinaryField(max_length=32),
        category="record", purposes=("accountability",), keep="account", erase=Erase.DELETE,
    )  # fmt: skip
    payload = personal(
        models.TextField(),
        category="record", purposes=("accountability",), keep="account", erase=Erase.DELETE,
    )  # fmt: skip
