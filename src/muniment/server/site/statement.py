"""The statement, its proof, its history, and what is held: each view asks the privacy package once."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from muniment.server.privacy.data_map import data_map_document, holdings
from muniment.server.privacy.operator import read_operator
from muniment.server.privacy.proof import LIMITS, proofs, read_evidence, summary, tally
from muniment.server.privacy.readable import readable
from muniment.server.privacy.statement import read_statement
from muniment.server.web.context import deployment


@require_safe
def statement(request: HttpRequest) -> HttpResponse:
    current = read_statement()
    shown = {
        "statement": current,
        "parts": readable(current),
        "operator": read_operator(deployment().config.data),
    }
    return render(request, "site/privacy/statement.html", shown)


@require_safe
def proof(request: HttpRequest) -> HttpResponse:
    current = read_statement()
    evidence = read_evidence()
    found = proofs(current, evidence, counts={}, figures={})
    counted = tally(found)
    shown = {
        "statement": current,
        "evidence": evidence,
        "proofs": found,
        "counted": counted,
        "summary": summary(counted),
        "limits": LIMITS,
    }
    return render(request, "site/privacy/proof.html", shown)


@require_safe
def data(request: HttpRequest) -> HttpResponse:
    return render(request, "site/privacy/data.html", {"holdings": holdings(read_statement())})


@require_safe
def data_map_json(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    return JsonResponse(data_map_document(read_statement()), json_dumps_params={"indent": 1})
