"""What the authority is told of a breach (GDPR, article 33(3)): a text, for a person to hand in there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from django.contrib.auth import get_user_model

from muniment.server.privacy.breaches.models import Affected, Breach, Risk
from muniment.server.privacy.breaches.register import NoSuchBreach
from muniment.server.privacy.operator import Operator
from muniment.server.privacy.purposes import Purpose, purpose
from muniment.server.privacy.registry import Personal
from muniment.server.privacy.rows_about import SELF, PersonalTable, tables_about
from muniment.server.privacy.statement import read_statement

_UNKNOWN = "Not known yet. It will be handed in later (article 33(4))."


@purpose(Purpose.BREACH)
def notice_of(ref: UUID, operator: Operator) -> str:
    """Raises NoSuchBreach. What nobody has said yet is said to be unknown; numbers are those of now."""
    row = Breach.objects.filter(ref=ref).first()
    if row is None:
        raise NoSuchBreach(ref)
    return "\n\n".join(f"{title}\n{text}" for title, text in _parts(row, operator)) + "\n"


def _parts(row: Breach, operator: Operator) -> Iterator[tuple[str, str]]:
    who = "\n".join(f"{what}: {said}" for what, said in operator.facts())
    kinds = read_statement().categories
    yield "Notification of a personal data breach (GDPR, article 33)", f"Reference: {row.ref.hex}"
    yield "Who notifies, and whom to ask", who or "operator.toml says nothing: fill this in."
    yield "Noticed", _moment(row.noticed_at)
    yield "To be notified by", _moment(row.due_at)
    yield "What happened", row.happened
    yield (
        "Kinds of data",
        "\n".join(f"{name}: {kinds[name].text}" for name in row.categories if name in kinds),
    )
    yield "People concerned", str(_people(row))
    yield "Records concerned, at most", str(_records(row))
    yield "Likely consequences", row.consequences or _UNKNOWN
    yield "Measures taken or proposed", row.measures or _UNKNOWN
    yield "How likely harm is", row.get_risk_display()
    yield "The people themselves", _told(row)
    if row.why_late:
        yield "Why this comes after 72 hours", row.why_late


def _told(row: Breach) -> str:
    if row.told_at is not None:
        return f"Each of them was written to; the last on {_moment(row.told_at)}."
    return "They are being written to." if row.risk == Risk.HIGH else "They were not written to."


def _people(row: Breach) -> int:
    if row.everybody:
        return get_user_model()._default_manager.filter(created_at__lte=row.opened_at).count()
    return row.affected.count()


def _records(row: Breach) -> int:
    """Rows about these people in tables that hold any of these kinds of data."""
    return sum(_rows_in(table, row) for table in tables_about() if _holds(table, row))


def _holds(table: PersonalTable, row: Breach) -> bool:
    kinds = {one.declaration.category for one in table.personal if isinstance(one.declaration, Personal)}
    return bool(kinds & set(row.categories))


def _rows_in(table: PersonalTable, row: Breach) -> int:
    rows = table.model._default_manager.all()
    if not row.everybody:
        way = "pk" if table.path == SELF else table.path
        rows = rows.filter(**{f"{way}__in": Affected.objects.filter(breach=row).values("account")})
    return rows.count()


def _moment(at: datetime) -> str:
    return f"{at:%-d %B %Y, %H:%M} UTC"
