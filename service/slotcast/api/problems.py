"""Every error as RFC 9457 problem details (`application/problem+json`).

A problem's `type` is an anchor of the service's own /docs page, so it can be followed offline.
`detail` names the thing and the way out; an unexpected error says only where to look.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from slotcast.board.views import LogUnavailable, MemoryUnavailable, ResetForbidden, UnknownPartition
from slotcast.workers.port import RegistryUnavailable

SAFE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer that does not say otherwise: it is for programs, or for our own page."""

PROBLEM_JSON = "application/problem+json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: the last part of its type, its status, and the same title every time."""

    name: str
    status: int
    title: str

    @property
    def type(self) -> str:
        """URI reference of this kind's description."""
        return f"/docs#{self.name}"


UNAUTHORISED = Kind("unauthorised", 401, "A bearer token is needed")
RESET_FORBIDDEN = Kind("reset-forbidden", 403, "The service may not write to the tick topic")
FOREIGN_PAGE = Kind("foreign-page", 403, "Resets are refused from pages of other sites")
UNKNOWN_PATH = Kind("unknown-path", 404, "There is nothing at this path")
UNKNOWN_INSTRUMENT = Kind("unknown-instrument", 404, "There is no such instrument")
WRONG_METHOD = Kind("wrong-method", 405, "The path does not take this method")
MISDIRECTED = Kind("misdirected", 421, "Another worker was meant")
LENGTH_MISSING = Kind("length-missing", 411, "The request does not say how long it is")
TOO_LARGE = Kind("too-large", 413, "The request is too large")
INVALID = Kind("invalid", 422, "The request is not valid")
UNEXPECTED = Kind("unexpected", 500, "The service failed")
MEMORY_UNAVAILABLE = Kind("memory-unavailable", 503, "Whoever may hold it cannot be asked now")
REGISTRY_UNAVAILABLE = Kind("registry-unavailable", 503, "The list of workers cannot be read")
LOG_UNAVAILABLE = Kind("log-unavailable", 503, "The log did not take the record in time")
NOT_READY = Kind("not-ready", 503, "The service is not ready")
STOPPING = Kind("stopping", 503, "The service is stopping")
TOO_MANY_STREAMS = Kind("too-many-streams", 503, "Too many event streams are open")

KINDS = (
    UNAUTHORISED,
    RESET_FORBIDDEN,
    FOREIGN_PAGE,
    UNKNOWN_PATH,
    UNKNOWN_INSTRUMENT,
    WRONG_METHOD,
    LENGTH_MISSING,
    TOO_LARGE,
    MISDIRECTED,
    INVALID,
    UNEXPECTED,
    MEMORY_UNAVAILABLE,
    REGISTRY_UNAVAILABLE,
    LOG_UNAVAILABLE,
    NOT_READY,
    STOPPING,
    TOO_MANY_STREAMS,
)


class InvalidPart(BaseModel):
    """One thing that is wrong with a request."""

    at: str = Field(description="Where: `query.steps`, `body.instruments.0`, `path.instrument`.")
    message: str = Field(description="What is wrong.")


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(description="Kind of problem, as an anchor of /docs.")
    title: str = Field(description="The kind in words; the same every time.")
    status: int = Field(description="HTTP status.")
    detail: str = Field(description="What happened this time, and the way out.")
    instance: str = Field(description="Path of the request.")
    errors: list[InvalidPart] | None = Field(None, description="Only `invalid`: every fault.")
    ready: bool | None = Field(None, description="Only `not-ready`: false.")
    reasons: list[str] | None = Field(None, description="Only `not-ready`: every reason.")
    notes: list[str] | None = Field(None, description="Only `not-ready`: what else to know.")
    worker: str | None = Field(None, description="Only `unknown-instrument`: who answered.")
    partitions: list[int] | None = Field(
        None, description="Only `unknown-instrument`: the partitions that were looked at."
    )
    incident: str | None = Field(None, description="Only `unexpected`: find it in the log.")


class Refused(Exception):
    """A request that ends in a problem. `more` are extension members."""

    def __init__(
        self, kind: Kind, detail: str, headers: dict[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.headers, self.more = kind, detail, headers, more


ANSWERS: tuple[tuple[type[Exception], Kind, dict[str, str]], ...] = (
    (ResetForbidden, RESET_FORBIDDEN, {}),
    (UnknownPartition, INVALID, {}),
    (LogUnavailable, LOG_UNAVAILABLE, {"Retry-After": "5"}),
    (MemoryUnavailable, MEMORY_UNAVAILABLE, {"Retry-After": "2"}),
    (RegistryUnavailable, REGISTRY_UNAVAILABLE, {"Retry-After": "5"}),
)
"""What the service raises -> the kind of problem it is, and headers."""


def problem(path: str, refused: Refused) -> Response:
    """The problem's response; `path` is the request's."""
    kind = refused.kind
    body = {
        "type": kind.type,
        "title": kind.title,
        "status": kind.status,
        "detail": refused.detail,
        "instance": path,
        **refused.more,
    }
    headers = {"Cache-Control": "no-store", **SAFE_HEADERS, **(refused.headers or {})}
    return JSONResponse(body, kind.status, headers, media_type=PROBLEM_JSON)


def install(app: FastAPI) -> None:
    """Answer every error of `app` as a problem."""
    app.add_exception_handler(Refused, _on_refused)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    for raised, kind, headers in ANSWERS:
        app.add_exception_handler(raised, partial(_on_known, kind, headers))
    app.add_exception_handler(Exception, _on_unexpected)


async def _on_refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return problem(_path(request), error)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == UNKNOWN_PATH.status:
        refused = Refused(UNKNOWN_PATH, f"{_path(request)} does not exist: see /docs", headers)
    elif error.status_code == WRONG_METHOD.status:
        refused = Refused(WRONG_METHOD, _other_methods(request.method, headers), headers)
    elif error.status_code == HTTPStatus.BAD_REQUEST:  # FastAPI's word for bytes that are no text
        refused = Refused(INVALID, f"{error.detail}: send JSON in UTF-8", headers)
    else:
        kind = Kind("", error.status_code, HTTPStatus(error.status_code).phrase)
        refused = Refused(kind, str(error.detail), headers)
    return problem(_path(request), refused)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [{"at": _place(fault["loc"]), "message": fault["msg"]} for fault in error.errors()]
    detail = "; ".join(f"{fault['at']}: {fault['message']}" for fault in errors[:3])
    return problem(_path(request), Refused(INVALID, detail, errors=errors))


async def _on_known(
    kind: Kind, headers: dict[str, str], request: Request, error: Exception
) -> Response:
    return problem(_path(request), Refused(kind, str(error), headers))


async def _on_unexpected(request: Request, error: Exception) -> Response:
    # The server logs the traceback when Starlette raises the error again after this answer.
    incident = secrets.token_hex(4)
    _log.error("incident %s: %s %s: %r", incident, request.method, _path(request), error)
    detail = f"an error in slotcast, not in the request: look for incident {incident} in its log"
    # The server closes the connection after it: say so, or the client's next request may be lost.
    closing = {"Connection": "close"}
    return problem(_path(request), Refused(UNEXPECTED, detail, closing, incident=incident))


def _path(request: Request) -> str:
    return str(request.scope["path"])


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _other_methods(method: str, headers: dict[str, str]) -> str:
    allowed = next((v for name, v in headers.items() if name.lower() == "allow"), "another method")
    return f"{method} is not possible here: use {allowed}"
