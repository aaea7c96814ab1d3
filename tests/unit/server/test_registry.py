"""Every column is declared, or nothing starts."""

from __future__ import annotations

import sqlite3

import pytest
from django.apps import apps
from django.core import checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connection, models

from muniment.server.accounts.models import Account
from muniment.server.privacy.external import EXTERNAL
from muniment.server.privacy.registry import (
    Erase,
    Personal,
    Placement,
    Public,
    data_map,
    personal,
    problems,
    public,
)
from muniment.server.privacy.statement import read_statement


def _model(name: str, **members: object) -> type[models.Model]:
    """A model that is never registered: it lives only in the list handed to `problems`."""
    meta = type("Meta", (), {"app_label": "planted", "managed": True})
    made = type(name, (models.Model,), {"__module__": __name__, "Meta": meta, **members})
    apps.all_models["planted"].clear()
    return made


DECLARED = {"subject_path": "account", "placement": Placement.REGION}


def _id() -> models.Field:
    return public(models.BigAutoField(primary_key=True), why="a row number")


def test_every_installed_column_is_declared() -> None:
    assert problems(read_statement(), EXTERNAL) == []
    assert [item for item in checks.run_checks() if item.level >= checks.ERROR] == []


def test_the_data_map_covers_the_database_itself() -> None:
    """Not the models but the tables: whatever holds a column is in the map."""
    mapped = {(column.model.lower().replace(".", "_"), column.name) for column in data_map(EXTERNAL)}
    named = {
        (model._meta.db_table, field.column): (model._meta.label.lower().replace(".", "_"), field.name)
        for model in apps.get_models(include_auto_created=True)
        for field in model._meta.concrete_fields
    }
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        columns = {
            (table, info.name)
            for table in tables
            for info in connection.introspection.get_table_description(cursor, table)
        }
    plumbing = {item for item in columns if item[0] in ("django_migrations", "sqlite_sequence")}
    assert {item[1] for item in plumbing if item[0] == "django_migrations"} <= set(
        EXTERNAL["migrations.Migration"].columns
    )
    undeclared = {item for item in columns - plumbing if named.get(item) not in mapped}
    assert undeclared == set()


def test_a_planted_undeclared_column_is_found() -> None:
    planted = _model("Planted", id=_id(), shoe_size=models.IntegerField(), **DECLARED)
    assert problems(read_statement(), EXTERNAL, model_list=[planted]) == [
        "planted.Planted.shoe_size is not declared personal or public"
    ]


def test_an_implicit_primary_key_is_a_column_too() -> None:
    planted = _model("Implicit", **DECLARED)
    assert problems(read_statement(), EXTERNAL, model_list=[planted]) == [
        "planted.Implicit.id is not declared personal or public"
    ]


def test_a_model_says_where_it_lives_and_whom_it_is_about() -> None:
    planted = _model("Homeless", id=_id())
    assert problems(read_statement(), EXTERNAL, model_list=[planted]) == [
        "planted.Homeless declares no subject_path and placement"
    ]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"purposes": ("curiosity",)}, "names the purpose 'curiosity'"),
        ({"purposes": ()}, "is personal without a purpose"),
        ({"keep": "for ever"}, "names the period 'for ever'"),
        ({"category": "gossip"}, "names the category 'gossip'"),
        ({"category": "vault"}, "is vault, which the purpose 'sign_in' may not use"),
    ],
)
def test_declarations_refer_to_the_statement(change: dict[str, object], complaint: str) -> None:
    values = {
        "category": "contact",
        "purposes": ("sign_in",),
        "keep": "account",
        "erase": Erase.DELETE,
        **change,
    }
    planted = _model("Wrong", id=_id(), nickname=personal(models.TextField(), **values), **DECLARED)
    found = problems(read_statement(), EXTERNAL, model_list=[planted])
    assert len(found) == 1
    assert complaint in found[0]


@pytest.mark.clause("P6")
@pytest.mark.parametrize("purpose", sorted(read_statement().purposes))
def test_what_is_backed_up_serves_no_other_purpose(purpose: str) -> None:
    """Keeping it, metering it, showing its owner who used it; an order or a buyer gets it sealed."""
    column = personal(
        models.BinaryField(), category="vault", purposes=(purpose,), keep="vault", erase=Erase.DELETE
    )
    planted = _model("Sealed", id=_id(), pack=column, **DECLARED)
    allowed = {"backup", "metering", "security", "legal_order", "succession", "named_sharing"}
    refused = problems(read_statement(), EXTERNAL, model_list=[planted])
    assert bool(refused) == (purpose not in allowed)


def test_a_personal_column_needs_a_subject() -> None:
    values = {"category": "contact", "purposes": ("sign_in",), "keep": "account", "erase": Erase.DELETE}
    planted = _model(
        "Nobody", id=_id(), nickname=personal(models.TextField(), **values),
        subject_path="", placement=Placement.REGION,
    )  # fmt: skip
    assert "no subject_path" in problems(read_statement(), EXTERNAL, model_list=[planted])[0]


@pytest.mark.clause("P5")
def test_the_check_command_fails_on_an_undeclared_column(monkeypatch: pytest.MonkeyPatch) -> None:
    call_command("check", verbosity=0)
    field = Account._meta.get_field("allowance")
    declared = field.__dict__["privacy"]
    monkeypatch.delattr(field, "privacy")
    with pytest.raises(SystemCheckError, match=r"accounts\.Account\.allowance is not declared"):
        call_command("check", verbosity=0)
    assert isinstance(declared, Personal | Public)


def test_no_foreign_key_crosses_placements() -> None:
    for model in apps.get_models(include_auto_created=True):
        for field in model._meta.concrete_fields:
            if field.is_relation and field.related_model is not None:
                assert _placement(model) == _placement(field.related_model)


def _placement(model: type[models.Model]) -> Placement:
    outside = EXTERNAL.get(model._meta.label)
    return outside.placement if outside else model.placement  # type: ignore[attr-defined]


def test_subject_paths_lead_to_an_account() -> None:
    for model in apps.get_models(include_auto_created=True):
        path = getattr(model, "subject_path", "")
        if path in ("", "self"):
            continue
        at: type[models.Model] = model
        for step in path.split("__"):
            at = at._meta.get_field(step).related_model
        assert at is Account, model._meta.label


@pytest.mark.sqlite
def test_sqlite_is_as_durable_as_promised() -> None:
    with connection.cursor() as cursor:
        pragmas = {
            name: cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode")
        }
    assert pragmas == {"synchronous": 2, "journal_mode": "truncate"}
    assert sqlite3.sqlite_version_info >= (3, 37)
