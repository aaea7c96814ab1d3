"""The statement, its proof, its history, and what is held: each view asks the privacy package and answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views.decorators.http import require_safe

from muniment.server.privacy.data_map import data_map_document, holdings
from muniment.server.privacy.figures import figures
from muniment.server.privacy.operator import Operator, read_operator
from muniment.server.privacy.program import program_digest
from muniment.server.privacy.proof import LIMITS, Proof, Standing, proofs, read_evidence, summary, tally
from muniment.server.privacy.readable import readable
from muniment.server.privacy.recorded import recorded
from muniment.server.privacy.statement import Statement, read_statement
from muniment.server.privacy.tables import table_named
from muniment.server.privacy.terms import Clause
from muniment.server.privacy.versions.acceptance import held_by
from muniment.server.privacy.versions.history import history_of
from muniment.server.privacy.versions.in_force import (
    NoSuchVersion,
    Version,
    statement_in_force,
    upcoming,
    version_numbered,
    versions,
)
from muniment.server.web.context import deployment, now

_ATOM = "application/atom+xml; charset=utf-8"


@require_safe
def statement(request: HttpRequest) -> HttpResponse:
    """What holds for whoever asks."""
    return _show(request, held_by(getattr(request, "user", None), now()))


@require_safe
def version(request: HttpRequest, number: int) -> HttpResponse:
    """One version as it was posted, in force or not."""
    try:
        return _show(request, version_numbered(number))
    except NoSuchVersion:
        raise Http404 from None


@require_safe
def proof(request: HttpRequest) -> HttpResponse:
    """About the program that runs, hence of the statement that ships with it."""
    current, evidence = read_statement(), read_evidence()
    found = proofs(current, evidence, counts=recorded(now()), figures=figures(now()))
    counted = tally(found)
    shown = {
        "statement": current,
        "evidence": evidence,
        "has_changed": not evidence.is_of(program_digest()),
        "overview": _overview_shown(tuple((one.clause, one.standing, one.state) for one in found)),
        "clauses": [_clause_shown(item) for item in found],
        "counted": counted,
        "summary": summary(counted),
        "limits": LIMITS,
    }
    return render(request, "site/privacy/proof.html", shown)


@lru_cache(maxsize=8)
def _overview_shown(found: tuple[tuple[Clause, Standing, str], ...]) -> str:
    return render_to_string("site/privacy/proof_overview.html", {"standings": found})


@lru_cache(maxsize=256)
def _clause_shown(item: Proof) -> str:
    """Most of these never change while this program runs, and the others only where something was counted."""
    return render_to_string("site/privacy/proof_clause.html", {"proof": item})


@require_safe
def history(request: HttpRequest) -> HttpResponse:
    return render(request, "site/privacy/history.html", {"steps": history_of(versions()), "now": now()})


@require_safe
def history_feed(request: HttpRequest) -> HttpResponse:
    """An Atom feed (RFC 4287), one entry for each version."""
    shown = {"versions": versions(), "site": deployment().url}
    return render(request, "site/privacy/history.atom", shown, content_type=_ATOM)


@require_safe
def data(request: HttpRequest) -> HttpResponse:
    held = held_by(getattr(request, "user", None), now()).statement
    shown = {
        "holdings": _columns_held(read_statement().digest),
        "recipients": table_named("recipients", held),
    }
    return render(request, "site/privacy/data.html", shown)


@lru_cache(maxsize=2)
def _columns_held(digest: str) -> str:  # noqa: ARG001, what it is kept by
    """The same for everybody as long as this program runs: made once, for it is hundreds of rows."""
    return render_to_string("site/privacy/holdings.html", {"holdings": holdings(read_statement())})


@require_safe
def data_map_json(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    document = data_map_document(read_statement(), recipients=statement_in_force(now()).recipients)
    return JsonResponse(document, json_dumps_params={"indent": 1})


def _show(request: HttpRequest, held: Version) -> HttpResponse:
    operator = read_operator(deployment().config.data)
    shown = {
        "version": held,
        "statement": held.statement,
        "text": _text_of(_Text(held.statement.digest, operator, held.statement)),
        "coming": upcoming(now()),
    }
    return render(request, "site/privacy/statement.html", shown)


@dataclass(frozen=True, slots=True)
class _Text:
    """What the text of the page is made of."""

    digest: str
    operator: Operator
    statement: Statement = field(compare=False)


@lru_cache(maxsize=8)
def _text_of(text: _Text) -> str:
    """The same for every visit of a version, until the operator says something else."""
    shown = {"parts": readable(text.statement), "operator": text.operator}
    return render_to_string("site/privacy/statement_text.html", shown)
