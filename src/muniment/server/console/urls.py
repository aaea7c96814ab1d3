"""Where the staff's pages are."""

from __future__ import annotations

from django.urls import path

from muniment.server.console import orders, requests

urlpatterns = [
    path("console/orders", orders.orders, name="console_orders"),
    path("console/orders/<uuid:ref>/approve", orders.approve_order, name="approve_order"),
    path("console/orders/<uuid:ref>/refuse", orders.refuse_order, name="refuse_order"),
    path("console/orders/<uuid:ref>/export", orders.export_order, name="export_order"),
    path("console/requests", requests.requests, name="console_requests"),
    path("console/requests/<uuid:ref>/vouch", requests.vouch, name="vouch_for_request"),
    path("console/requests/<uuid:ref>/done", requests.done, name="carry_out_request"),
    path("console/requests/<uuid:ref>/refuse", requests.refuse, name="turn_down_request"),
]
