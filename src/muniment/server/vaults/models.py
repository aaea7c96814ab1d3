"""Rows of vaults. `ref` is the id that the world sees; object keys name sealed bytes in the store."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from muniment.server.accounts.models import Account, Device
from muniment.server.privacy.registry import Placement
from muniment.server.vaults.columns import activity, credential, described, metered, row_id, sealed


class PackState(models.TextChoices):
    INCOMING = "incoming"
    LIVE = "live"
    CONDEMNED = "condemned"
    DELETING = "deleting"
    GONE = "gone"
    QUARANTINED = "quarantined"


HELD = (PackState.LIVE, PackState.CONDEMNED)
"""States in which a pack's bytes are durably here and believed good."""

PRESENT = (*HELD, PackState.QUARANTINED)
"""States in which no second row of the same pack may become live beside it."""

UNSETTLED = Q(state__in=("incoming", "quarantined", "deleting"))
UNSETTLED_SQL = "vaults_pack.state IN ('incoming', 'quarantined', 'deleting')"
"""The few rows that need attention. A partial index is only used where the query spells its condition out
in literals, so queries add `UNSETTLED_SQL`."""


class Vault(models.Model):
    """One owner's sealed store: the unit of keys, deduplication, allowance."""

    subject_path: ClassVar[str] = "owner"
    placement: ClassVar[Placement] = Placement.REGION

    id = row_id()
    ref = sealed(models.UUIDField(unique=True, editable=False))
    owner = sealed(models.ForeignKey(Account, on_delete=models.PROTECT, related_name="vaults"))
    name = described(models.CharField(max_length=100, blank=True))
    created_at = activity(models.DateTimeField())
    allowance = metered(models.BigIntegerField())
    used = metered(models.BigIntegerField(default=0))
    last_event = activity(models.BigIntegerField(default=0))
    # From then on no device gets in; `closing` deletes what is there, this row last.
    closing_at = activity(models.DateTimeField(null=True))
    # reserved for retention: the rule in force. Nothing reads or writes it yet.
    retention = sealed(models.JSONField(null=True))


class ClosedVault(models.Model):
    """What is left of a vault that was, or is being, closed: its id stays taken, and how much was deleted."""

    subject_path: ClassVar[str] = "owner"
    placement: ClassVar[Placement] = Placement.REGION

    id = row_id()
    ref = activity(models.UUIDField(unique=True, editable=False), keep="account")
    # Empty once the account is gone: then nobody is told any more whose vault it was.
    owner = activity(
        models.ForeignKey(Account, null=True, on_delete=models.SET_NULL, related_name="closed_vaults"),
        keep="account",
    )
    begun_at = activity(models.DateTimeField(), keep="account")
    done_at = activity(models.DateTimeField(null=True), keep="account")
    # Counts by kind, in the transactions that delete the rows: a stopped closing goes on counting.
    deleted = activity(models.JSONField(default=dict), keep="account")


class Grant(models.Model):
    """A device's right on a vault. Rights end by revoking the device, never by deleting the row."""

    subject_path: ClassVar[str] = "vault__owner"
    placement: ClassVar[Placement] = Placement.REGION

    id = row_id()
    vault = sealed(models.ForeignKey(Vault, on_delete=models.CASCADE, related_name="grants"))
    device = sealed(models.ForeignKey(Device, on_delete=models.CASCADE, related_name="grants"))
    granted_at = activity(models.DateTimeField())
    pending = metered(models.BigIntegerField(default=0))
    # Free bytes of the allowance that no other device may take.
    reserved = metered(models.BigIntegerField(default=0))

    class Meta:
        constraints = [models.UniqueConstraint(fields=["vault", "device"], name="one_grant_per_device")]


class Slot(models.Model):
    """A wrapped key. Written once; `kind` is known when a slot list first names it."""

    subject_path: ClassVar[str] = "vault__owner"
    placement: ClassVar[Placement] = Placement.REGION

    id = row_id()
    ref = sealed(models.UUIDField())
    vault = sealed(models.ForeignKey(Vault, on_delete=models.CASCADE, related_name="slots"))
    sha256 = sealed(models.BinaryField(max_length=32))
    object_key = sealed(models.CharField(max_length=160, unique=True))
    kind = sealed(models.CharField(max_length=10, blank=True))
    holder = sealed(models.ForeignKey(Device, null=True, on_delete=models.SET_NULL, related_name="+"))
    added_by = activity(models.ForeignKey(Device, null=True, on_delete=models.SET_NULL, related_name="+"))
    added_at = activity(models.DateTimeField())
    withheld_at = activity(models.DateTimeField(null=True))
    # The signed removal record, once its delay is over: the next holder of the key folds it into the list.
    removal = sealed(models.BinaryField(null=True))

    class Meta:
        constraints = [models.UniqueConstraint(fields=["vault", "ref"], name="slot_written_once")]


class SlotListVersion(models.Model):
    subject_path: ClassVar[str] = "vault__owner"
    placement: ClassVar[Placement] = Placement.REGION

    id = row_id()
    vault = sealed(models.ForeignKey(Vault, on_delete=models.CASCADE, related_name="slot_lists"))
    number = sealed(models.IntegerField())
    sha256 = sealed(models.BinaryField(max_length=32))
    object_key = sealed(models.CharField(max_length=160, unique=True))
    written_by = activity(models.ForeignKey(Device, null=True, on_delete=models.SET_NULL, related_name="+"))
    received_at = activity(models.DateTimeField())
    withdrawn_at = activity(models.DateTimeField(null=True))

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["vault", "number"],
                condition=models.Q(withdrawn_at=None),
                name="slot_list_number_once",
            )
        ]


class KitCredential(models.Model):
    subject_path: ClassVar[str] = "slot__vault__owner"
    placement: ClassVar[Placement] = Placement.REGION

    id = row_id()
    slot = credential(models.OneToOneField(Slot, on_delete=models.CASCADE, related_name="kit"))
    credential_sha256 = credential(models.BinaryField(max_length=32))
    registered_at = activity(models.DateTimeField())


class KitToken(models.Model):
    """A read-only token that a kit's credential was traded for."""

    subject_path: ClassVar[str] = "kit__slot__vault__owner"
    placement: ClassVar[Placement] = Placement.REGION
    ended: ClassVar[dict[str, tuple[str, ...]]] = {"session": ("expires_at",)}

    id = row_id()
    kit = credential(
        models.ForeignKey(KitCredential, on_delete=models.CASCADE, related_name="tokens"), keep="session"
    )
    token_sha256 = credential(models.BinaryField(max_length=32, unique=True), keep="session")
    expires_at = activity(models.DateTimeField(), keep="session")


class Session(models.Model):
    """A device's (or kit's) visit: pins its parent, every pack live when it opened, and what it sends."""

    subject_path: ClassVar[str] = "vault__owner"
    placement: ClassVar[Placement] = Placement.REGION
    ended: ClassVar[dict[str, tuple[str, ...]]] = {"session": ("closed_at", "ends_at")}

    class Purpose(models.TextChoices):
        BACKUP = "backup"
        RESTORE = "restore"

    id = row_id()
    ref = activity(models.UUIDField(unique=True), keep="session")
    vault = activity(
        models.ForeignKey(Vault, on_delete=models.CASCADE, related_name="sessions"), keep="session"
    )
    device = activity(
        models.ForeignKey(Device, null=True, on_delete=models.CASCADE, related_name="+"), keep="session"
    )
    kit = activity(
        models.ForeignKey(KitCredential, null=True, on_delete=models.CASCADE, related_name="+"),
        keep="session",
    )
    purpose = activity(models.CharField(max_length=10, choices=Purpose), keep="session")
    client_version = described(models.CharField(max_length=100), keep="session")
    opened_at = activity(models.DateTimeField(), keep="session")
    alive_at = activity(models.DateTimeField(), keep="session")
    ends_at = activity(models.DateTimeField(), keep="session")
    closed_at = activity(models.DateTimeField(null=True), keep="session")
    # reserved for the sweep, which may not touch packs up to this row number that were live when the session
    # opened. Written, but nothing reads it yet.
    pinned_up_to = sealed(models.BigIntegerField(default=0))

    class Meta:
        indexes = [models.Index(fields=["device", "opened_at"], name="sessions_of_device")]


class Pack(models.Model):
    """A stored pack. A pack id gets a new row, and a new object key, each time it is sent anew."""

    subject_path: ClassVar[str] = "vault__owner"
    placement: ClassVar[Placement] = Placement.REGION

    id = row_id()
    # Found by (vault, ref); an index per foreign key would triple the weight of a petabyte's rows.
    vault = sealed(models.ForeignKey(Vault, on_delete=models.CASCADE, related_name="packs", db_index=False))
    ref = sealed(models.UUIDField())
    kind = sealed(models.SmallIntegerField())
    epoch = sealed(models.IntegerField())
    size = sealed(models.BigIntegerField())
    sha256 = sealed(models.BinaryField(max_length=32))
    state = sealed(models.CharField(max_length=12, choices=PackState))
    object_key = sealed(models.CharField(max_length=160, unique=True))
    sender = activity(
        models.ForeignKey(Device, null=True, on_delete=models.SET_NULL, related_name="+", db_index=False)
    )
    # Sessions are forgotten long before packs; the number then points nowhere, which nobody follows.
    session = activity(
        models.ForeignKey(
            Session,
            null=True,
            on_delete=models.DO_NOTHING,
            related_name="+",
            db_index=False,
            db_constraint=False,
        )
    )
    received_at = activity(models.DateTimeField())
    pending = metered(models.BooleanField(default=True))

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["vault", "ref"], condition=Q(state__in=PRESENT), name="one_present_row_per_pack"
            )
        ]
        indexes = [
            models.Index(fields=["vault", "ref"], name="packs_by_ref"),
            models.Index(fields=["vault", "state"], condition=UNSETTLED, name="unsettled_packs"),
        ]


class Snapshot(models.Model):
    """A committed head. The record outlives its pages: a missing one would mean hiding."""

    subject_path: ClassVar[str] = "vault__owner"
    placement: ClassVar[Placement] = Placement.REGION

    id = row_id()
    vault = sealed(models.ForeignKey(Vault, on_delete=models.CASCADE, related_name="snapshots"))
    name = sealed(models.CharField(max_length=64))
    device = sealed(models.ForeignKey(Device, on_delete=models.PROTECT, related_name="+"))
    installation = sealed(models.UUIDField())
    set_ref = sealed(models.UUIDField())
    counter = sealed(models.IntegerField())
    parent = sealed(models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="+"))
    partial = sealed(models.BooleanField())
    slot_list_number = sealed(models.IntegerField())
    received_at = activity(models.DateTimeField())
    head_key = sealed(models.CharField(max_length=160, unique=True))
    packs_key = sealed(models.CharField(max_length=160, unique=True))
    packs_sha256 = sealed(models.BinaryField(max_length=32))
    packs_count = sealed(models.IntegerField())
    packs_depth = sealed(models.SmallIntegerField())
    # Bytes that head, reference set and the covers of index packs take of the allowance.
    metered = metered(models.BigIntegerField(default=0))
    # reserved for forgetting: the head stays, pages and reference set go. Read everywhere, never set yet.
    forgotten_at = activity(models.DateTimeField(null=True))

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["vault", "name"], name="snapshot_once"),
            models.UniqueConstraint(fields=["vault", "device", "counter"], name="counter_once"),
        ]
        indexes = [models.Index(fields=["vault", "device", "set_ref", "counter"], name="newest_heads")]


class IndexPack(models.Model):
    """An index pack of a committed snapshot and what it covers; `id` is the feed's cursor."""

    subject_path: ClassVar[str] = "vault__owner"
    placement: ClassVar[Placement] = Placement.REGION

    id = row_id()
    vault = sealed(models.ForeignKey(Vault, on_delete=models.CASCADE, related_name="index_packs"))
    pack = sealed(models.OneToOneField(Pack, on_delete=models.PROTECT, related_name="+"))
    covers = sealed(models.BinaryField())

    class Meta:
        indexes = [models.Index(fields=["vault", "id"], name="index_pack_feed")]


class Run(models.Model):
    """How a backup run went: an outcome, counts and a rounded size. Never names."""

    subject_path: ClassVar[str] = "vault__owner"
    placement: ClassVar[Placement] = Placement.REGION

    id = row_id()
    vault = activity(models.ForeignKey(Vault, on_delete=models.CASCADE, related_name="runs"))
    device = activity(models.ForeignKey(Device, on_delete=models.PROTECT, related_name="+"))
    session_ref = activity(models.UUIDField(null=True))
    set_ref = sealed(models.UUIDField())
    outcome = activity(models.CharField(max_length=12))
    coverage = activity(models.JSONField())
    bytes_bound = activity(models.BigIntegerField())
    seconds = activity(models.FloatField())
    client_version = described(models.CharField(max_length=100))
    received_at = activity(models.DateTimeField())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["session_ref", "set_ref"], name="one_report_per_run")]
        indexes = [models.Index(fields=["device", "received_at"], name="runs_of_device")]


class Confirmation(models.Model):
    """A request that only the owner's own act lets happen. State machine in docs/design/protocol.md."""

    subject_path: ClassVar[str] = "vault__owner"
    placement: ClassVar[Placement] = Placement.REGION

    class Action(models.TextChoices):
        REVOKE_DEVICE = "revoke_device"
        REMOVE_SLOT = "remove_slot"

    class State(models.TextChoices):
        PENDING = "pending"
        CONFIRMED = "confirmed"
        UNDONE = "undone"
        DONE = "done"
        LAPSED = "lapsed"

    class Decider(models.TextChoices):
        OWNER = "owner"
        OPERATOR = "operator"

    id = row_id()
    ref = activity(models.UUIDField(unique=True))
    vault = activity(models.ForeignKey(Vault, on_delete=models.CASCADE, related_name="confirmations"))
    action = activity(models.CharField(max_length=20, choices=Action))
    subject_ref = activity(models.UUIDField())
    removal = sealed(models.BinaryField(null=True))
    asked_by = activity(models.ForeignKey(Device, on_delete=models.PROTECT, related_name="+"))
    asked_at = activity(models.DateTimeField())
    state = activity(models.CharField(max_length=10, choices=State, default=State.PENDING))
    effective_at = activity(models.DateTimeField(null=True))
    decided_by = activity(models.CharField(max_length=10, choices=Decider, blank=True))
    # Why an operator decided in the owner's place; shown to the owner.
    reason = activity(models.CharField(max_length=500, blank=True))

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["vault", "action", "subject_ref"],
                condition=Q(state__in=("pending", "confirmed")),
                name="one_open_request",
            )
        ]


class Event(models.Model):
    """What happened to a vault, numbered without gaps, for its owner to read."""

    subject_path: ClassVar[str] = "vault__owner"
    placement: ClassVar[Placement] = Placement.REGION

    id = row_id()
    vault = activity(models.ForeignKey(Vault, on_delete=models.CASCADE, related_name="events"))
    number = activity(models.BigIntegerField())
    at = activity(models.DateTimeField())
    kind = activity(models.CharField(max_length=30))
    device = activity(models.ForeignKey(Device, null=True, on_delete=models.SET_NULL, related_name="+"))
    detail = activity(models.JSONField(default=dict))

    class Meta:
        constraints = [models.UniqueConstraint(fields=["vault", "number"], name="event_number_once")]
