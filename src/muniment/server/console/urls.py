"""Where the staff's pages are."""

from __future__ import annotations

from django.urls import path
from django.views.generic import RedirectView

from muniment.server.console import breaches, letters, orders, recipients, requests, succession
from muniment.server.console.access import staff_only
from muniment.server.privacy.purposes import Purpose
from muniment.server.web.purposes import used_for

urlpatterns = [
    path("console", staff_only(RedirectView.as_view(pattern_name="console_requests")), name="console"),
    path("console/orders", orders.orders, name="console_orders"),
    path("console/orders/<uuid:ref>/read", orders.read_order, name="read_order"),
    path("console/orders/<uuid:ref>/approve", orders.approve_order, name="approve_order"),
    path("console/orders/<uuid:ref>/refuse", orders.refuse_order, name="refuse_order"),
    path("console/orders/<uuid:ref>/export", orders.export_order, name="export_order"),
    path("console/orders/<uuid:ref>/document", orders.fetch_document, name="fetch_order_document"),
    path("console/orders/<uuid:ref>/delivered", orders.deliver_document, name="deliver_order_document"),
    path("console/breaches", breaches.breaches, name="console_breaches"),
    path("console/breaches/<uuid:ref>/close", breaches.close, name="close_breach"),
    path("console/breaches/<uuid:ref>/judge", breaches.judge, name="judge_breach"),
    path("console/breaches/<uuid:ref>/notice", breaches.notice, name="breach_notice"),
    path("console/breaches/<uuid:ref>/reported", breaches.reported, name="breach_reported"),
    path("console/breaches/<uuid:ref>/widen", breaches.widen, name="widen_breach"),
    path("console/letters", letters.letters, name="console_letters"),
    path("console/letters/<uuid:ref>/approve", letters.approve_letter, name="approve_letter"),
    path("console/letters/<uuid:ref>/take-back", letters.take_back_letter, name="take_back_letter"),
    path("console/recipients", recipients.recipients, name="console_recipients"),
    path("console/recipients/<slug:name>/named", recipients.fetch_file, name="fetch_named"),
    path("console/succession", succession.succession, name="console_succession"),
    path(
        "console/succession/<uuid:ref>/hand-over",
        used_for(Purpose.SUCCESSION)(succession.hand_over),
        name="hand_over",
    ),
    path("console/hand-over/<uuid:ref>/file", succession.fetch_file, name="fetch_hand_over"),
    path("console/hand-over/<uuid:ref>/delivered", succession.deliver_file, name="deliver_hand_over"),
    path("console/requests", requests.requests, name="console_requests"),
    path("console/requests/<uuid:ref>/read", requests.read, name="read_request"),
    path("console/requests/<uuid:ref>/name", requests.name, name="name_sender"),
    path("console/requests/<uuid:ref>/vouch", requests.vouch, name="vouch_for_request"),
    path("console/requests/<uuid:ref>/done", requests.done, name="carry_out_request"),
    path("console/requests/<uuid:ref>/refuse", requests.refuse, name="turn_down_request"),
]
