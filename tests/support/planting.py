"""What `tests.support.canary` does once Django is set up: tokens into columns, and rows out of tables."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import F

from muniment.server.accounts.models import WebSession
from muniment.server.accounts.sessions import SessionStore
from muniment.server.mail.delivery import deliver_due
from muniment.server.mail.models import Mail
from muniment.server.privacy.rows_about import PersonalTable, tables_about
from muniment.server.transactions import writing

MEANS_ONE_OF_FEW = frozenset({
    "accounts.Account.country", "accounts.Account.password", "privacy_consent.ConsentEvent.purpose",
    "privacy_consent.ConsentEvent.recipient", "privacy_versions.Acceptance.method",
    "privacy_consent.ConsentEvent.method", "mail.Mail.message", "mail.Mail.message_class",
    "mail.Mail.subject", "vaults.Confirmation.decided_by", "vaults.ClosedVault.deleted",
    "privacy_consent.ConsentEvent.browser",
    "privacy_consent.ConsentEvent.state", "privacy_requests.Restriction.purpose", "vaults.Vault.retention",
})  # fmt: skip
"""Words and counts of ours: the same for many people, so that finding one tells nothing. A password is a
hash, and choices of an account have no browser."""
LEADS_TO_THINGS = frozenset({"UUIDField", "BinaryField"})
"""Ids and hashes: they are looked for as they are, because changing them would cut what they lead to."""
LEAD_TO_THINGS = ("object_key", "head_key", "packs_key", "session_key")
NOBODY = "nobody"
SHORTEST = 8
_FREE = frozenset({"CharField", "TextField", "EmailField", "JSONField", "GenericIPAddressField"})


def plant(email: str) -> dict[str, str]:
    """A token for each personal column that can hold one; the person's rows have them afterwards."""
    person = get_user_model()._default_manager.get(email=email).pk
    tokens: dict[str, str] = {}
    failed: list[str] = []
    with writing():
        tables = tables_about()
        for table in tables:
            try:
                with transaction.atomic():
                    if not table.about(person).exists():
                        _make(table, person, {one.model: one for one in tables})
            except Exception as error:
                failed.append(f"{table.label} got no row: {error!r}")
        for table in tables:
            for column in table.personal:
                name = f"{table.label}.{column.name}"
                try:
                    with transaction.atomic():
                        token = _planted(table, column.name, person, name)
                except Exception as error:
                    failed.append(f"{name} got no token: {error!r}")
                    continue
                if token is not None:
                    tokens[name] = token
    assert not failed, "\n".join(failed)
    return tokens


def _planted(table: Any, column: str, person: int, name: str) -> str | None:
    field = table.model._meta.get_field(column)
    kind = field.get_internal_type()
    if field.is_relation or field.choices or name in MEANS_ONE_OF_FEW:
        return None
    held = table.about(person).order_by("-pk").exclude(**{f"{column}__isnull": True}).first()
    if kind in LEADS_TO_THINGS or column in LEAD_TO_THINGS or name == "accounts.Account.email":
        value = getattr(held, column) if held is not None else None
        if value in (None, "", b""):
            value = uuid4() if kind == "UUIDField" else secrets.token_bytes(32)
            key = table.about(person).order_by("-pk").values_list("pk", flat=True)[0]
            table.model._default_manager.filter(pk=key).update(**{column: value})
        return said(value)
    if kind not in _FREE:
        return None  # numbers, days and switches say too little to be recognised; rows with them must be gone
    assert (field.max_length or 99) >= SHORTEST, (
        f"{name} is too short for a token: say why in MEANS_ONE_OF_FEW"
    )
    shaped = {
        "GenericIPAddressField": f"198.51.100.{secrets.randbelow(200) + 20}",
        "EmailField": f"canary-{secrets.token_hex(6)}@example.org",
    }
    token = shaped.get(kind, f"q{secrets.token_hex(6)}z"[: field.max_length or 99])
    key = table.about(person).order_by("-pk").values_list("pk", flat=True)[0]
    value = {"canary": token} if kind == "JSONField" else token
    table.model._default_manager.filter(pk=key).update(**{column: value})
    return token


def _make(table: Any, person: int, tables: dict[Any, Any]) -> Any:
    """A row about the person, of whatever table it is; days go up from column to column, all long past."""
    values: dict[str, Any] = {}
    at = datetime(2020, 1, 1, tzinfo=UTC)
    for field in table.model._meta.concrete_fields:
        at += timedelta(days=1)
        if field.primary_key and not field.is_relation:
            continue
        if field.is_relation:
            values[field.attname] = _related(field, table, person, tables)
        elif not field.has_default() and not field.null:
            values[field.attname] = _some(field, at)
    return table.model._default_manager.create(**values)


def _related(field: Any, table: Any, person: int, tables: dict[Any, Any]) -> Any:
    if field.name == table.path:
        return person
    leads = table.path.startswith(f"{field.name}__")
    if field.null and not leads:
        return None
    other = tables.get(field.related_model)
    if other is None:
        taken = table.model._default_manager.values(field.attname) if field.one_to_one else ()
        found = field.related_model._default_manager.exclude(pk__in=taken).first()
        found = found or _make(PersonalTable(field.related_model._meta.label, NOBODY, ()), person, tables)
        return found.pk
    about = other.about(person).first() or _make(other, person, tables)
    return about.pk


def _some(field: Any, at: datetime) -> Any:
    kind = field.get_internal_type()
    if field.choices:
        return field.choices[0][0]
    made = {
        "DateTimeField": at,
        "DateField": at.date(),
        "UUIDField": uuid4(),
        "BinaryField": secrets.token_bytes(32),
        "BooleanField": False,
        "FloatField": 1.0,
        "JSONField": {},
        "EmailField": f"{secrets.token_hex(6)}@example.org",
    }
    if kind in made:
        return made[kind]
    return 1 if "Integer" in kind else secrets.token_hex(4)[: field.max_length]


def rows() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row of every table, as (table, {column: value}); sessions with what is packed in them."""
    for model in apps.get_models(include_auto_created=True):
        if model._meta.managed and not model._meta.proxy:
            for row in model._default_manager.values():
                if model is WebSession:
                    row["session_data"] = [row["session_data"], SessionStore().decode(row["session_data"])]
                yield model._meta.label, row


def deliver(deployment: Any) -> None:
    """As when a mail server takes what waits: rows of mails that were delivered go."""
    with writing():
        Mail.objects.update(queued_at=F("queued_at") - timedelta(days=8))
    deliver_due(deployment)


def said(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return value.hex if hasattr(value, "hex") and hasattr(value, "urn") else str(value)
