"""Where the public pages are."""

from __future__ import annotations

from django.urls import path

from muniment.server.privacy.purposes import Purpose
from muniment.server.site.asking import ask_from_outside, confirm_request
from muniment.server.site.cookies import choose_cookies, cookies, gpc_support
from muniment.server.site.home import editions, home, one_edition, sealed, sealed_archive
from muniment.server.site.ledger import ledger_checkpoint, ledger_entries, ledger_key, ledger_proof
from muniment.server.site.mails import mailbox, unsubscribe
from muniment.server.site.receipts import receipt, receipt_json
from muniment.server.site.statement import (
    data,
    data_map_json,
    history,
    history_feed,
    proof,
    statement,
    version,
)
from muniment.server.site.transparency import transparency, transparency_json
from muniment.server.site.visits import visit
from muniment.server.web.purposes import used_for

_rights = used_for(Purpose.REQUESTS)
_mail = used_for(Purpose.SERVICE_MAIL)
_record = used_for(Purpose.ACCOUNTABILITY)
_linking = used_for(Purpose.PERSONALISE)

urlpatterns = [
    path("", home, name="home"),
    path("sealed", sealed, name="sealed"),
    path("sealed/sealed-sample.zip", sealed_archive, name="sealed_archive"),
    path("editions", editions, name="editions"),
    path("ledger/key", ledger_key, name="ledger_key"),
    path("ledger/checkpoint", ledger_checkpoint, name="ledger_checkpoint"),
    path("ledger/entries", ledger_entries, name="ledger_entries"),
    path("ledger/proof", ledger_proof, name="ledger_proof"),
    path("visit", _linking(visit), name="visit"),
    path("cookies", cookies, name="cookies"),
    path("cookies/choice", choose_cookies, name="choose_cookies"),
    path(".well-known/gpc.json", gpc_support, name="gpc_support"),
    path("editions/<slug:name>", one_edition, name="edition"),
    path("transparency", _record(transparency), name="transparency"),
    path("transparency.json", _record(transparency_json), name="transparency_json"),
    path("unsubscribe/<str:token>", _mail(unsubscribe), name="unsubscribe"),
    path("mailbox", _mail(mailbox), name="mailbox"),
    path("receipt/<uuid:ref>/<slug:mark>", _rights(receipt), name="receipt"),
    path("receipt/<uuid:ref>/<slug:mark>.json", _rights(receipt_json), name="receipt_json"),
    path("privacy", statement, name="statement"),
    path("privacy/request", _rights(ask_from_outside), name="ask_from_outside"),
    path("privacy/request/<str:token>", _rights(confirm_request), name="confirm_link"),
    path("privacy/proof", proof, name="proof"),
    path("privacy/version/<int:number>", version, name="statement_version"),
    path("privacy/history", history, name="history"),
    path("privacy/history.atom", history_feed, name="history_feed"),
    path("privacy/data", data, name="data"),
    path("privacy/data-map.json", data_map_json, name="data_map"),
]
