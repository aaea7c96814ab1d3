"""Structured logs, one JSON object a line, without personal data.

Nothing free-form gets through: a record of ours has the fields named here and nothing else, one of a library
its name and level. An exception is told by its type and places in the code, never by its text (which may
quote what a person wrote).
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
                value = getattr(record, name, None)
                if isinstance(value, str | int | float):
                    line[name] = value
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
            line["at"] = [
                f"{frame.filename.rpartition('/')[2]}:{frame.lineno}:{frame.name}"
                for frame in traceback.extract_tb(record.exc_info[2])[-12:]
            ]
        return json.dumps(line)


def start_logging(*, level: int = logging.INFO) -> None:
    """All loggers write JSON lines to standard error; libraries only from WARNING on."""
    # Else a record that cannot be written is quoted on standard error, with all that it was made of.
    logging.raiseExceptions = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("muniment").setLevel(level)
    # These put addresses and paths into their records; our own request log says what is needed.
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("django.request").disabled = True
    # The children of this one are made as they are needed, and take its level.
    logging.getLogger("django.security").setLevel(logging.CRITICAL + 1)
