"""Structured logs, one JSON object a line, without personal data.

Nothing free-form gets through: a record has the fields named here and nothing else, and an exception is
told by its type and places in the code, never by its text (which may quote what a person wrote).
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime

REQUESTS = logging.getLogger("muniment.requests")
SERVICE = logging.getLogger("muniment.service")

_FIELDS = ("request", "route", "status", "code", "ms", "received", "sent", "count", "job")


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "from": record.name,
        }
        if record.name.startswith("muniment"):
            line["event"] = record.msg
        for name in _FIELDS:
            if hasattr(record, name):
                line[name] = getattr(record, name)
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
            line["at"] = [
                f"{frame.filename.rpartition('/')[2]}:{frame.lineno}:{frame.name}"
                for frame in traceback.extract_tb(record.exc_info[2])[-12:]
            ]
        return json.dumps(line)


def start_logging(*, level: int = logging.INFO) -> None:
    """All loggers write JSON lines to standard error; libraries only from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("muniment").setLevel(level)
    # These two put addresses and paths into their messages; our own request log says what is needed.
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("django.request").disabled = True
