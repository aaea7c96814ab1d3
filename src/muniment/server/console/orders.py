"""`/console/orders`: orders of authorities, taken in, approved by two, exported or refused."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from muniment.server.console.access import staff_only
from muniment.server.portal.access import owner_of
from muniment.server.privacy.disclosures import cases
from muniment.server.privacy.disclosures.models import Cause
from muniment.server.privacy.disclosures.orders import (
    Forgotten,
    Lapsed,
    NoSuchOrder,
    NotApproved,
    Order,
    OutOfScope,
    closed_orders,
    deliver,
    export,
    fetch,
    open_orders,
    titles_within_reach,
    undelivered_orders,
)
from muniment.server.privacy.disclosures.orders import read_order as read
from muniment.server.privacy.staff import ReasonMissing
from muniment.server.web.context import deployment, now


class OrderForm(forms.Form):
    cause = forms.ChoiceField(label="Why", choices=Cause.choices)
    issuer = forms.CharField(label="Court or authority", max_length=200)
    country = forms.RegexField(
        r"^[A-Z]{2}$", label="Its country", max_length=2, help_text="Two capital letters."
    )
    legal_basis = forms.CharField(label="Legal basis", max_length=300)
    email = forms.EmailField(label="Address of the account")
    scope = forms.MultipleChoiceField(
        label="What is asked for",
        widget=forms.CheckboxSelectMultiple,
        help_text="Nothing else can be exported.",
    )
    days = forms.IntegerField(label="Days until it is owed", min_value=1, max_value=365)
    gag_days = forms.IntegerField(
        label="Days for which telling the person is forbidden", min_value=0, max_value=3650, required=False
    )
    reason = forms.CharField(
        label="Our own reason, where no order makes us", widget=forms.Textarea(attrs={"rows": 4}),
        required=False,
    )  # fmt: skip

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.fields["scope"].choices = [  # type: ignore[attr-defined]
            (table, list(columns.items())) for table, columns in sorted(titles_within_reach().items())
        ]


@require_http_methods(["GET", "HEAD", "POST"])
@staff_only
def orders(request: HttpRequest) -> HttpResponse:
    form = OrderForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        said, at = form.cleaned_data, now()
        gag = said["gag_days"]
        order = Order(
            cause=Cause(said["cause"]), issuer=said["issuer"], country=said["country"],
            legal_basis=said["legal_basis"], email=said["email"], scope=frozenset(said["scope"]),
            deadline=at + timedelta(days=said["days"]), reason=said["reason"],
            gagged_until=at + timedelta(days=gag) if gag else None,
        )  # fmt: skip
        try:
            cases.take_in_case(order, by=owner_of(request), now=at)
        except NoSuchOrder:
            form.add_error("email", "No account has this address.")
        except ValueError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, "Taken in. Two different people have to approve it.", extra_tags="good")
            return redirect("console_orders")
    return _page(request, form, status=422 if form.errors else 200)


@require_POST
@staff_only
def read_order(request: HttpRequest, ref: UUID) -> HttpResponse:
    """The orders, with whom this one is about."""
    try:
        asked = read(ref, reason=request.POST.get("reason", ""), now=now())
    except NoSuchOrder:
        raise Http404 from None
    except ReasonMissing as error:
        messages.error(request, f"{error}.".capitalize(), extra_tags="bad")
        return _page(request, OrderForm(), status=422)
    return _page(request, OrderForm(), asked=asked, of=ref)


@require_POST
@staff_only
def approve_order(request: HttpRequest, ref: UUID) -> HttpResponse:
    try:
        cases.approve_case(ref, owner_of(request), now=now())
    except NoSuchOrder:
        raise Http404 from None
    return redirect("console_orders")


@require_POST
@staff_only
def refuse_order(request: HttpRequest, ref: UUID) -> HttpResponse:
    try:
        cases.refuse_case(ref, reason=request.POST.get("reason", ""), by=owner_of(request), now=now())
    except NoSuchOrder:
        raise Http404 from None
    except ValueError as error:
        messages.error(request, str(error).capitalize() + ".", extra_tags="bad")
    return redirect("console_orders")


@require_POST
@staff_only
def export_order(request: HttpRequest, ref: UUID) -> HttpResponse:
    """Makes the document for the authority; the person is told in the same moment, unless gagged."""
    try:
        export(deployment(), ref, by=owner_of(request))
    except NoSuchOrder:
        raise Http404 from None
    except Lapsed:
        messages.error(
            request,
            "It was not exported within ninety days: two people have to approve it anew.",
            extra_tags="bad",
        )
    except (NotApproved, OutOfScope):
        messages.error(request, "Two different people have to approve it first.", extra_tags="bad")
    else:
        messages.success(request, "The document is made. Fetch it below.", extra_tags="good")
    return redirect("console_orders")


@require_POST
@staff_only
def fetch_document(request: HttpRequest, ref: UUID) -> HttpResponse:
    """The document as a download, as often as it takes."""
    try:
        document = fetch(ref, now=now())
    except NoSuchOrder:
        raise Http404 from None
    except Forgotten:
        messages.error(request, "The document is gone: with the person, or after 30 days.", extra_tags="bad")
        return redirect("console_orders")
    answer = HttpResponse(document, content_type="application/json")
    answer.headers["Content-Disposition"] = f'attachment; filename="order-{ref.hex[:8]}.json"'
    return answer


@require_POST
@staff_only
def deliver_document(request: HttpRequest, ref: UUID) -> HttpResponse:
    """The authority has it."""
    try:
        deliver(ref, by=owner_of(request), now=now())
    except NoSuchOrder:
        raise Http404 from None
    messages.success(request, "Noted. Our copy of the document is deleted.", extra_tags="good")
    return redirect("console_orders")


def _page(request: HttpRequest, form: OrderForm, *, status: int = 200, **read: object) -> HttpResponse:
    at = now()
    cases_open = [(one, one.order.has_lapsed(at)) for one in open_orders()]
    context = {
        "orders": cases_open, "undelivered": undelivered_orders(), "closed": closed_orders(now=at),
        "form": form, "me": owner_of(request).pk, **read,
    }  # fmt: skip
    return render(request, "console/orders.html", context, status=status)
