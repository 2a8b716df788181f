"""The HTTP app: puts the reading, the writing and the page routes around one `Readings`.

It reads views and appends resets; it owns no memory and starts no thread of its own.
"""

from __future__ import annotations

from functools import partial

from anyio import CapacityLimiter
from fastapi import FastAPI

import slotcast
from slotcast.api import pages, problems, reads, relay, writes
from slotcast.api.documents import describe
from slotcast.api.doorway import Doorway
from slotcast.api.events import Events
from slotcast.board.views import Readings
from slotcast.metrics import Metrics
from slotcast.settings import HttpSettings
from slotcast.workers.peers import Peers

DESCRIPTION = (
    "Forecasts of the next tick of every instrument, as of the last commit. Every worker of a "
    "group answers for every instrument, and lists all. Names of instruments in paths are "
    "percent-encoded. Errors are RFC 9457 problems."
)


def create_app(readings: Readings, metrics: Metrics, http: HttpSettings, peers: Peers) -> FastAPI:
    """The app over these readings and those of other workers. One app serves one event loop."""
    app = FastAPI(
        title="slotcast",
        version=slotcast.__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.readings, app.state.metrics, app.state.http = readings, metrics, http
    app.state.peers = peers
    app.state.events = Events(readings, peers)
    app.state.free_runs = CapacityLimiter(reads.FREE_RUNS)
    app.state.resets = CapacityLimiter(writes.RESETS)
    app.state.relays = CapacityLimiter(relay.RELAYS)
    for router in (pages.router, writes.router, reads.router):
        app.include_router(router)
    problems.install(app)
    app.add_middleware(Doorway)
    app.openapi = partial(describe, app)  # type: ignore[method-assign]  # FastAPI's documented hook
    return app
