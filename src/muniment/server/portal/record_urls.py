"""Where choices and the ledger are: pages that people without an account have, too."""

from __future__ import annotations

from django.urls import path

from muniment.server.portal.ledger import ledger, ledger_bundle
from muniment.server.portal.preferences import name, preferences, receipt, withdraw
from muniment.server.privacy.purposes import Purpose
from muniment.server.web.purposes import used_for

_record = used_for(Purpose.ACCOUNTABILITY)

urlpatterns = [
    path("preferences", preferences, name="preferences"),
    path("preferences/name", name, name="name_recipient"),
    path("preferences/withdraw", withdraw, name="withdraw_grant"),
    path("preferences/receipts/<int:entry>.json", _record(receipt), name="consent_receipt"),
    path("ledger", _record(ledger), name="ledger"),
    path("ledger/mine.json", _record(ledger_bundle), name="ledger_bundle"),
]
