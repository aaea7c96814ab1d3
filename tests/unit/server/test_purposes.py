"""No personal column is read without a purpose that it lists, in whatever way it is read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from allauth.account.models import EmailAddress
from django.apps import apps
from django.db.models import Count, Exists, F, Max, Subquery
from django.db.models.expressions import RawSQL
from django.db.models.functions import Lower
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.test import override_settings
from django.urls import path

from muniment.server.accounts.models import Account, Device
from muniment.server.dataplane.calls import Threads
from muniment.server.deployment import Deployment
from muniment.server.jobs.models import Job
from muniment.server.privacy.external import EXTERNAL
from muniment.server.privacy.gate.disclose import _values
from muniment.server.privacy.ledger.entries import entries_of
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.purposes import Purpose, ReadWithoutPurpose, afresh, decided, purpose
from muniment.server.privacy.registry import Column, Personal, data_map
from muniment.server.privacy.staff import ReasonMissing, staff_reading
from muniment.server.privacy.statement import read_statement
from muniment.server.transactions import writing
from muniment.server.vaults.hot_rows import fetch_row
from muniment.server.vaults.models import Vault
from muniment.server.web.purposes import used_for
from tests.support.domain import Clock, Member
from tests.support.pages import Person

PERSONAL = [column for column in data_map(EXTERNAL) if isinstance(column.declaration, Personal)]

READS: dict[str, Callable[[int], Any]] = {
    "an attribute": lambda pk: Account.objects.get(pk=pk).email,
    "one not loaded yet": lambda pk: Account.objects.only("id").get(pk=pk).email,
    "a foreign key": lambda pk: Device.objects.get(account=pk).account_id,
    "what a foreign key leads to": lambda pk: Vault.objects.get(owner=pk).owner,
    "values": lambda pk: Account.objects.filter(pk=pk).values("email")[0],
    "a list of values": lambda pk: list(Account.objects.filter(pk=pk).values_list("id", "email")),
    "values by way of another table": lambda pk: list(
        Device.objects.filter(account=pk).values("account__email")
    ),
    "an expression": lambda pk: list(
        Account.objects.filter(pk=pk).annotate(shown=Lower("email")).values_list("shown")
    ),
    "beside a row": lambda pk: Device.objects.annotate(whose=F("account__email")).filter(account=pk)[0],
    "an aggregate": lambda pk: Account.objects.filter(pk=pk).aggregate(Max("email")),
    "a row that came with another": lambda pk: Vault.objects.select_related("owner").get(owner=pk).owner,
    "a query within": lambda pk: list(
        Job.objects.annotate(shown=Subquery(Account.objects.filter(pk=pk).values("email")[:1])).values(
            "shown"
        )
    ),
    "beside other rows": lambda pk: list(
        Job.objects.values_list("name").union(Account.objects.filter(pk=pk).values_list("email"))
    ),
    "a third party's row": lambda pk: EmailAddress.objects.get(user=pk).email,
    "a third party's values": lambda pk: EmailAddress.objects.filter(user=pk).values_list("email", flat=True)[
        0
    ],
    "a column copied into another": lambda pk: Account.objects.filter(pk=pk).update(password=Lower("email")),
    "plain SQL": lambda pk: fetch_row("standing_of_grant", pk, pk),
}


@pytest.fixture
def person(deployment: Deployment) -> Iterator[Account]:
    """Somebody with a device and a vault, and nothing open but what a test opens."""
    member = Member.first(deployment)
    EmailAddress.objects.get_or_create(user=member.account, email=member.account.email)
    with afresh():
        yield member.account


@pytest.mark.clause("P19", aspect="off")
@pytest.mark.parametrize("way", READS)
def test_nothing_is_read_for_no_purpose(person: Account, way: str) -> None:
    with pytest.raises(ReadWithoutPurpose):
        READS[way](person.pk)


@pytest.mark.clause("P19", aspect="allowed")
@pytest.mark.parametrize("way", READS)
def test_what_delivers_the_service_is_read_for_that(person: Account, way: str) -> None:
    with purpose(Purpose.BACKUP), purpose(Purpose.SIGN_IN):
        READS[way](person.pk)
    with pytest.raises(ReadWithoutPurpose):  # not open any more
        READS[way](person.pk)


@pytest.mark.clause("P19", aspect="beyond")
@pytest.mark.parametrize("way", READS)
def test_nothing_is_read_for_another_purpose(person: Account, way: str) -> None:
    with purpose(Purpose.ADVERTISE, Purpose.STATISTICS), pytest.raises(ReadWithoutPurpose):
        READS[way](person.pk)


@pytest.mark.clause("P19", aspect="beyond")
@pytest.mark.parametrize("column", PERSONAL, ids=lambda column: column.registered)
def test_every_column_opens_to_its_purposes_and_to_peoples_rights_alone(column: Column) -> None:
    model = apps.get_model(column.model)
    row, name = model(), model._meta.get_field(column.name).attname
    assert isinstance(column.declaration, Personal)
    opens = {*column.declaration.purposes, Purpose.REQUESTS}
    for one in Purpose:
        with afresh(one):
            if one in opens:
                getattr(row, name)
            else:
                with pytest.raises(ReadWithoutPurpose, match=f"for {one}"):
                    getattr(row, name)


def test_the_program_knows_the_purposes_of_the_statement() -> None:
    assert set(Purpose) == set(read_statement().purposes)


def test_writing_counting_and_asking_whether_read_nothing(person: Account) -> None:
    account = Account(ref=uuid4(), email="new@example.org", created_at=Clock()())
    account.save()
    Account.objects.filter(pk=account.pk).update(email="newer@example.org")
    assert Account.objects.filter(email="newer@example.org").exists()
    assert Device.objects.filter(account=person).aggregate(number=Count("account"))["number"] == 1
    assert Vault.objects.annotate(shown=Exists(Device.objects.filter(account=person))).values_list("shown")


@pytest.mark.parametrize(
    "by_hand",
    [
        lambda rows: rows.annotate(shown=RawSQL("email", ())),
        lambda rows: rows.extra(select={"shown": "email"}),
        lambda rows: rows.extra({"shown": "email"}).values("shown"),
        lambda rows: rows.annotate(shown=Lower(RawSQL("email", ()))).values_list("shown"),
    ],
)
def test_columns_named_by_hand_are_refused_whatever_it_is_for(
    person: Account, by_hand: Callable[[Any], Any]
) -> None:
    with purpose(Purpose.REQUESTS), pytest.raises(ReadWithoutPurpose, match="by hand"):
        list(by_hand(Account.objects.filter(pk=person.pk)))


def test_the_gate_reads_what_it_decided_and_nothing_beside(person: Account) -> None:
    given = frozenset({"accounts.Account.email"})
    with purpose(Purpose.SIGN_IN):
        email = person.email
    assert _values(person, given) == {"accounts.Account.email": [email]}
    with decided(given):
        assert person.email == email
        with pytest.raises(ReadWithoutPurpose):
            _ = person.country


def test_a_piece_of_work_begins_with_nothing_of_the_one_before(person: Account) -> None:
    threads = Threads.start(domain=1, disk=1)
    try:
        with purpose(Purpose.CONTRACT):
            assert person.country == ""
            with afresh(Purpose.SIGN_IN), pytest.raises(ReadWithoutPurpose):
                _ = person.country
            with pytest.raises(ReadWithoutPurpose):
                threads.domain.submit(lambda: person.country).result()
    finally:
        threads.stop()


def silent(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.user.country)  # type: ignore[union-attr]


def late(request: HttpRequest) -> TemplateResponse:
    """Rendered only after the view has returned."""
    template: Any = engines["django"].from_string("{{ request.user.country }}")
    return TemplateResponse(request, template)


urlpatterns = [
    path("silent", silent),
    path("late-and-silent", late),
    path("said", used_for(Purpose.CONTRACT)(silent)),
    path("late-and-said", used_for(Purpose.CONTRACT)(late)),
]


def test_a_page_says_what_it_is_for_beside_its_url(deployment: Deployment) -> None:
    browser = Person(deployment).join().browser
    with override_settings(ROOT_URLCONF=sys.modules[__name__]):
        for where in ("/silent", "/late-and-silent"):
            with pytest.raises(ReadWithoutPurpose, match="country"):
                browser.get(where)
        for where in ("/said", "/late-and-said"):
            assert browser.get(where).status_code == 200


def test_staff_read_for_a_reason_that_the_person_sees(person: Account, deployment: Deployment) -> None:
    at = deployment.now()
    for nothing in ("", "  \n"):
        with (
            pytest.raises(ReasonMissing),
            staff_reading(Purpose.ENFORCE_TERMS, reason=nothing, subject=person, about="a case", now=at),
        ):
            raise AssertionError("it was opened")
    with staff_reading(Purpose.CONTRACT, reason="they rang us", subject=person, about="a case", now=at):
        assert person.country == ""
    with pytest.raises(ReadWithoutPurpose):
        _ = person.country
    (told,) = [entry for entry in entries_of(person) if entry.leaf.kind == Kind.STAFF_READ]
    assert told.said["reason"] == "they rang us"
    assert told.said["purpose"] == "contract"


def test_the_reason_is_kept_even_if_what_follows_fails(person: Account, deployment: Deployment) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        staff_reading(
            Purpose.CONTRACT, reason="they rang us", subject=person, about="a case", now=deployment.now()
        ),
    ):
        _ = 1 / 0
    assert [entry for entry in entries_of(person) if entry.leaf.kind == Kind.STAFF_READ]
    with (
        pytest.raises(RuntimeError),
        writing(),
        staff_reading(
            Purpose.CONTRACT, reason="they rang us", subject=person, about="a case", now=deployment.now()
        ),
    ):
        raise AssertionError("a record that could be undone")
