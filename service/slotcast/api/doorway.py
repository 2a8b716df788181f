"""The first thing a request meets: routing on the path as it was sent, and a limit on bodies.

It is also the last thing an answer meets: headers keep browsers from doing more with it than they
should. What the server gives up when it stops is answered here, as `stopping`.

An ASGI server decodes `%2F` before routing, which would make the instrument `a/reset` and the reset
of `a` one path. Here routes see the encoded path, and `instrument_name` decodes the part they cut.
"""

from __future__ import annotations

from asyncio import CancelledError
from typing import Annotated
from urllib.parse import unquote

from anyio import move_on_after
from fastapi import Depends, Path
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from slotcast.api.problems import (
    INVALID,
    LENGTH_MISSING,
    SAFE_HEADERS,
    STOPPING,
    TOO_LARGE,
    Refused,
    problem,
)

MAX_BODY_BYTES = 1 << 20
DISCARD_BYTES, DISCARD_S = 16 << 20, 5.0
"""Most that is read of a body that is refused, and longest wait for its end."""
STOPPED = (
    "this worker is stopping and had no time left for the answer: ask again, or another worker; a"
    " reset may be in the log, and asking twice does no harm"
)
AGAIN = {"Retry-After": "5", "Connection": "close"}


class Doorway:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request on its encoded path, or refuse its body."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        answer = _Answer(send)
        send = answer.send
        if raw := scope.get("raw_path"):
            scope = {**scope, "path": raw.decode("latin-1")}
        if refused := _refusal(Headers(scope=scope)):
            if not await _discard_body(receive):
                refused = Refused(refused.kind, refused.detail, {"Connection": "close"})
            return await problem(scope["path"], refused)(scope, receive, send)
        try:
            await self._app(scope, receive, send)
        except CancelledError:
            if answer.begun:
                raise
            await problem(scope["path"], Refused(STOPPING, STOPPED, AGAIN))(scope, receive, send)


class _Answer:
    """What is sent for one request, with the headers that every answer has."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False

    async def send(self, message: Message) -> None:
        """Send a message."""
        if message["type"] == "http.response.start":
            self.begun = True
            headers = MutableHeaders(scope=message)
            for name, value in SAFE_HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)


def _refusal(headers: Headers) -> Refused | None:
    if "transfer-encoding" in headers:
        return Refused(LENGTH_MISSING, "send the body with a Content-Length, not in chunks")
    # The server has checked that the length is a number and the body is no longer.
    length_bytes = int(headers.get("content-length", "0"))
    if length_bytes > MAX_BODY_BYTES:
        limit = f"{length_bytes} bytes are too many, {MAX_BODY_BYTES} the most"
        return Refused(TOO_LARGE, f"{limit}: reset in several requests")
    return None


async def _discard_body(receive: Receive) -> bool:
    """Whether it came to its end."""
    # A connection closed on unread bytes is reset, and the client may never see the answer. Who
    # sends on and on, or does not come to an end, takes that chance.
    left = DISCARD_BYTES
    with move_on_after(DISCARD_S):
        while left > 0:
            message = await receive()
            if not message.get("more_body", False):
                return True
            left -= len(message.get("body", b""))
    return False


async def instrument_name(
    instrument: Annotated[
        str,
        Path(description="Name of the instrument, percent-encoded: `a/b c` is `a%2Fb%20c`."),
    ],
) -> str:
    """The instrument that a path names; raises `Refused` when it is not UTF-8."""
    try:
        return unquote(instrument, errors="strict")
    except UnicodeDecodeError:
        detail = f"{instrument} is not percent-encoded UTF-8: encode the name's UTF-8 bytes"
        raise Refused(INVALID, detail) from None


Name = Annotated[str, Depends(instrument_name)]
