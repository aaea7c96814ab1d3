"""Packs over HTTP: received and given back in streams, about a mebibyte at a time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from muniment.model.packs import PACK_CEILING
from muniment.server.dataplane.answers import answer
from muniment.server.dataplane.calls import Call, Threads
from muniment.server.refusals import Refusal, malformed
from muniment.server.store.port import ObjectReader
from muniment.server.vaults.access import Access
from muniment.server.vaults.reading import OpenPack, open_pack
from muniment.server.vaults.receive import PackOffer, Receipt, begin_receipt
from muniment.wire.errors import ErrorCode
from muniment.wire.messages import PackStored
from muniment.wire.routes import PACK_HASH_HEADER, Route

STEP = 1 << 20
_OCTETS = "application/octet-stream"
_RANGE = re.compile(r"bytes=(\d{1,18})?-(\d{1,18})?")


class SenderLeft(Exception):
    """The connection broke before the body was complete. There is nobody to answer."""


async def receive_pack(call: Call, route: Route, request: Request, threads: Threads) -> Response:
    """PUT: everything that can be refused is refused before the first byte is read."""
    size = _announced_size(request)
    offer = PackOffer(
        pack=call.ref("pack"),
        session=UUID(hex=str(call.query["session"])),
        kind=int(call.query["kind"]),
        epoch=int(call.query["epoch"]),
        size=size,
        sha256=bytes.fromhex(call.headers[PACK_HASH_HEADER]),
    )
    begun = await threads.run_domain(_begin, call, route, offer)
    if not isinstance(begun, Receipt):
        return answer(begun, status=200)
    try:
        await _stream_in(request, begun, threads)
        stored = await threads.run_domain(begun.finish)
    except BaseException:
        # Also when the task is cancelled: `abandon` waits for a write that is still going on in its thread.
        await asyncio.shield(threads.run_domain(begun.abandon))
        raise
    return answer(stored, status=200)


def _announced_size(request: Request) -> int:
    announced = request.headers.get("content-length", "")
    if not (announced.isascii() and announced.isdigit() and len(announced) < 19):
        raise malformed("a pack is sent with Content-Length")
    if int(announced) > PACK_CEILING:
        raise Refusal(ErrorCode.PACK_SIZE, f"a pack has at most {PACK_CEILING} bytes")
    return int(announced)


def _begin(call: Call, route: Route, offer: PackOffer) -> Receipt | PackStored:
    access = call.authenticated(route)
    if access is None:
        raise RuntimeError("the route has no vault")
    return begin_receipt(call.deployment, access, offer)


async def _stream_in(request: Request, receipt: Receipt, threads: Threads) -> None:
    """Collect about STEP bytes, hand them to a thread, and collect on while it writes and hashes."""
    pieces: list[bytes] = []
    held = 0
    writing: asyncio.Future[None] | None = None
    stall = receipt.deployment.config.stall
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(stall) as patience:
            more = True
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise SenderLeft
                more = message.get("more_body", False)
                piece = message.get("body", b"")
                if piece:
                    pieces.append(piece)
                    held += len(piece)
                if pieces and (held >= STEP or not more):
                    if writing is not None:
                        await writing
                    writing = asyncio.ensure_future(threads.run_disk(receipt.append, pieces))
                    pieces, held = [], 0
                    patience.reschedule(loop.time() + stall)
    except TimeoutError:
        raise SenderLeft from None
    finally:
        if writing is not None:
            await asyncio.shield(writing)


async def send_pack(call: Call, route: Route, request: Request, threads: Threads) -> Response:
    """GET: the whole pack, or the one range asked for."""
    pack, first, last, piece = await threads.run_domain(_open, call, route, request.headers.get("range"))
    length = last - first + 1
    headers = {
        "content-length": str(length),
        "accept-ranges": "bytes",
        PACK_HASH_HEADER.lower(): pack.sha256.hex(),
    }
    status = 200
    if request.headers.get("range") is not None:
        status = 206
        headers["content-range"] = f"bytes {first}-{last}/{pack.size}"
    if len(piece) == length:
        pack.reader.close()
        return Response(piece, status_code=status, headers=headers, media_type=_OCTETS)
    body = _stream_out(pack.reader, piece, first=first, last=last, threads=threads)
    return StreamingResponse(body, status_code=status, headers=headers, media_type=_OCTETS)


def _open(call: Call, route: Route, header: str | None) -> tuple[OpenPack, int, int, bytes]:
    """Access, row, file and first piece in one go."""
    access = call.authenticated(route)
    if not isinstance(access, Access):
        raise RuntimeError("the route has no vault")
    pack = open_pack(call.deployment, access, call.ref("pack"))
    try:
        first, last = _range(header, size=pack.size)
        piece = pack.reader.read(offset=first, length=min(STEP, last - first + 1))
    except BaseException:
        pack.reader.close()
        raise
    return pack, first, last, piece


def _range(header: str | None, *, size: int) -> tuple[int, int]:
    """(first, last) byte, both inclusive."""
    if header is None:
        return 0, size - 1
    match = _RANGE.fullmatch(header)
    if match is None or match[1] is None:
        raise malformed("only one range, from its first byte, is understood")
    first = int(match[1])
    last = min(size - 1, int(match[2]) if match[2] is not None else size - 1)
    if first > last:
        raise malformed("the range lies outside the pack")
    return first, last


async def _stream_out(
    reader: ObjectReader, piece: bytes, *, first: int, last: int, threads: Threads
) -> AsyncIterator[bytes]:
    try:
        yield piece
        at = first + len(piece)
        while at <= last:
            piece = await threads.run_disk(_read, reader, at, min(STEP, last - at + 1))
            if not piece:
                return  # shorter than its row says: the client sees a short body and asks again
            yield piece
            at += len(piece)
    finally:
        reader.close()


def _read(reader: ObjectReader, offset: int, length: int) -> bytes:
    return reader.read(offset=offset, length=length)
