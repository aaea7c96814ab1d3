"""What a log line holds: nothing that anybody sent."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
from django.test import Client

from muniment.server.deployment import Deployment
from muniment.server.logs import SERVICE, JsonLines, start_logging

MARK = "strangers-own-words"


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What a server would write to standard error."""
    root = logging.getLogger()
    names = ("", "muniment", "django.security", "uvicorn.access", "django.request")
    before = [(one, one.level, one.disabled) for one in map(logging.getLogger, names)]
    handlers, raises, written = root.handlers[:], logging.raiseExceptions, io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    start_logging()
    yield written
    root.handlers[:], logging.raiseExceptions = handlers, raises
    for logger, level, disabled in before:
        logger.setLevel(level)
        logger.disabled = disabled


def test_a_refused_form_leaves_neither_its_link_nor_its_origin(
    deployment: Deployment, logged: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    browser = Client(enforce_csrf_checks=True, headers={"host": "localhost", "origin": f"http://{MARK}"})
    assert browser.post(f"/accounts/password/set/{MARK}").status_code == 403
    assert browser.get("/", headers={"host": MARK}).status_code == 421
    assert MARK not in logged.getvalue() + capsys.readouterr().err


def test_a_library_tells_its_name_and_nothing_else(logged: io.StringIO) -> None:
    logging.getLogger("django.dispatch").error("%s", MARK, extra={"request": object(), "status": MARK})
    assert set(json.loads(logged.getvalue())) == {"time", "level", "from"}


def test_a_field_that_is_no_plain_value_is_left_out() -> None:
    record = SERVICE.makeRecord(
        SERVICE.name, logging.WARNING, "", 1, "failed", (), None, extra={"request": object(), "status": 403}
    )
    line = json.loads(JsonLines().format(record))
    assert line["status"] == 403
    assert "request" not in line


def test_a_page_that_fails_is_recorded_by_type_and_place(
    deployment: Deployment, logged: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(MARK)

    monkeypatch.setattr("muniment.server.accounts.views.open_token", fail)
    browser = Client(raise_request_exception=False, headers={"host": "localhost"})
    assert browser.get(f"/accounts/password/set/{MARK}").status_code == 500
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    (line,) = [line for line in lines if line.get("event") == "a page failed"]
    assert line["exception"] == "RuntimeError"
    assert "fail" in line["at"][-1]
    assert MARK not in logged.getvalue()
