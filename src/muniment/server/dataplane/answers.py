"""What goes back: messages, and refusals by the one table of `wire.errors`."""

from __future__ import annotations

import math
import re

import msgspec
from django.db import InterfaceError, OperationalError
from starlette.responses import Response

from muniment.server.refusals import Refusal
from muniment.server.store.port import StorageFailed, StorageFull
from muniment.wire.errors import ErrorCode
from muniment.wire.messages import ErrorReply, Message

_JSON = "application/json"
_NO_ROOM = re.compile("disk is full|No space left|disk full|Disk quota")
"""In the words of SQLite and PostgreSQL."""


def answer(message: Message | None, *, status: int) -> Response:
    if message is None:
        return Response(status_code=status)
    return Response(msgspec.json.encode(message), status_code=status, media_type=_JSON)


def answer_refusal(refusal: Refusal) -> Response:
    reply = ErrorReply(
        error=refusal.code.value,
        message=refusal.message,
        advice=refusal.advice,
        short_by=refusal.short_by,
        request=refusal.request,
        missing=list(refusal.missing),
        reason=refusal.reason,
        newest=refusal.newest,
    )
    response = Response(msgspec.json.encode(reply), status_code=refusal.status, media_type=_JSON)
    if refusal.retry_after is not None:
        response.headers["retry-after"] = str(math.ceil(refusal.retry_after))
    if refusal.code is ErrorCode.UNAUTHENTICATED:
        response.headers["www-authenticate"] = "Bearer"
    return response


def refusal_for(error: Exception) -> Refusal:
    """What a failure of our own means to the caller."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, StorageFull) or (
        isinstance(error, OperationalError) and _NO_ROOM.search(str(error))
    ):
        return Refusal(ErrorCode.STORAGE_FULL, "the server has no room left")
    if isinstance(error, StorageFailed | OperationalError | InterfaceError):
        return Refusal(ErrorCode.UNAVAILABLE, "the server cannot store or read just now")
    return Refusal(ErrorCode.INTERNAL, "the server failed; the operator's log says where")
