"""The live page and the API's description: hand-written files that need nothing from elsewhere.

The content policy forbids everything that does not come from this server.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from slotcast.api.problems import UNKNOWN_PATH, Refused

FILES = {file.name: file for file in (Path(__file__).parent / "page").iterdir()}
MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
}

router = APIRouter()


@router.get("/", tags=["pages"], response_class=HTMLResponse)
def show_board() -> Response:
    """The live page: every instrument with its forecast, twice a second."""
    return _page("board.html")


@router.get("/docs", tags=["pages"], response_class=HTMLResponse)
def show_docs() -> Response:
    """This description as a page."""
    return _page("docs.html")


@router.get("/page/{name}", include_in_schema=False)
def show_file(name: str) -> Response:
    """A style sheet or script of the pages."""
    return _page(name)


def _page(name: str) -> Response:
    file = FILES.get(name)
    if file is None:
        raise Refused(UNKNOWN_PATH, f"/page/{name} does not exist: see /docs")
    return Response(file.read_bytes(), headers=HEADERS, media_type=MEDIA_TYPES[file.suffix])
