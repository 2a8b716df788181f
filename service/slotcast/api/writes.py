"""The writing half of the API: resets, which are records appended to the log.

A reset is answered when its commit is seen (200), or when the wait ends (202): it is in the log
either way. A bearer token guards it where one is configured.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from slotcast.api import problems, records
from slotcast.api.documents import fails
from slotcast.api.doorway import Name
from slotcast.api.problems import Refused
from slotcast.api.reads import Source
from slotcast.board.views import ResetReceipt
from slotcast.settings import HttpSettings

RESETS = 8  # at a time: each holds a thread while it waits for its commit
Credentials = Annotated[
    HTTPAuthorizationCredentials | None,
    Depends(HTTPBearer(auto_error=False, description="Needed where `[http] token` is set.")),
]


async def authorise(request: Request, credentials: Credentials) -> None:
    """Raise `Refused` unless the request carries the configured token, if there is one."""
    http: HttpSettings = request.app.state.http
    if http.token is None:
        return
    given = credentials.credentials if credentials else ""
    # Header bytes arrive as latin-1 text; comparing takes the same time wherever they differ.
    if hmac.compare_digest(given.encode("latin-1"), http.token.get_secret_value().encode()):
        return
    fault = ', error="invalid_token"' if credentials else ""
    raise Refused(
        problems.UNAUTHORISED,
        "send Authorization: Bearer TOKEN with the token of [http] in the service's settings",
        {"WWW-Authenticate": f'Bearer realm="slotcast"{fault}'},
    )


async def refuse_foreign_pages(request: Request) -> None:
    """Raise `Refused` when a browser sends this for a page of another site."""
    origin = request.headers.get("origin")
    if origin is None:
        return
    page = urlsplit(origin)
    if page.netloc != request.headers.get("host"):
        raise Refused(
            problems.FOREIGN_PAGE, f"{origin} may not reset: send the request without a browser"
        )
    # A site can let its own name lead to our address; to an address, or with a token, it cannot.
    http: HttpSettings = request.app.state.http
    if http.token is None and not _is_ours(page.hostname or "", http):
        detail = f"{origin} may not reset by that name: set token or advertise in [http]"
        raise Refused(problems.FOREIGN_PAGE, detail)


def _is_ours(host: str, http: HttpSettings) -> bool:
    """Whether the name is an address, this computer, or configured as this worker's."""
    try:
        return bool(ip_address(host))
    except ValueError:
        return host in ("localhost", urlsplit(http.advertise or "").hostname)


router = APIRouter(
    tags=["resets"],
    dependencies=[Depends(refuse_foreign_pages), Depends(authorise)],
    responses={
        202: {"model": records.Resets, "description": "In the log, commit not seen yet"},
        **fails(
            problems.UNAUTHORISED,
            problems.RESET_FORBIDDEN,
            problems.FOREIGN_PAGE,
            problems.LOG_UNAVAILABLE,
        ),
        **fails(problems.LENGTH_MISSING, problems.TOO_LARGE, problems.INVALID),
    },
)


@router.post("/instruments/{instrument:path}/reset", response_model=records.Resets)
async def reset_instrument(request: Request, readings: Source, name: Name) -> Response:
    """Forget the instrument's memory. One that nobody knows is reset too, to no effect."""
    return await _reset(request, partial(readings.reset, [name]))


@router.post("/reset", response_model=records.Resets)
async def reset_instruments(
    request: Request, readings: Source, wanted: records.ResetRequest
) -> Response:
    """Forget the memory of these instruments, of all in these partitions, or of all."""
    if wanted.instruments is not None:
        names = list(dict.fromkeys(wanted.instruments))
        return await _reset(request, partial(readings.reset, names))
    partitions = wanted.partitions and sorted(set(wanted.partitions))
    return await _reset(request, partial(readings.reset_all, partitions))


async def _reset(
    request: Request, resetting: Callable[[float], Sequence[ResetReceipt]]
) -> Response:
    lane: CapacityLimiter = request.app.state.resets
    timeout_s: float = request.app.state.http.reset_timeout_s
    receipts = await to_thread.run_sync(resetting, timeout_s, limiter=lane, abandon_on_cancel=True)
    done = [records.Receipt.model_validate(receipt) for receipt in receipts]
    committed = all(receipt.committed for receipt in done)
    resets = records.Resets(committed=committed, receipts=done)
    return records.answer(resets, 200 if committed else 202)
