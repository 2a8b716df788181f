"""The reading half of the API: health, instruments, summary, metrics and events.

Everything here is a view as of the last commit; nothing touches memory.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Query
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

from slotcast.api import problems, records
from slotcast.api.documents import fails
from slotcast.api.doorway import Name
from slotcast.api.events import EventStream
from slotcast.api.listing import own_page, page_of_all
from slotcast.api.problems import Refused
from slotcast.api.relay import is_from_worker, read_anywhere
from slotcast.board.views import Readings
from slotcast.workers.peers import Peers

MAX_STEPS = 10_000
FREE_RUNS = 2  # at a time: they compute, and must not crowd out the worker


async def readings_of(request: Request) -> Readings:
    """The readings that the app was made with."""
    readings: Readings = request.app.state.readings
    return readings


Source = Annotated[Readings, Depends(readings_of)]
router = APIRouter()


@router.get("/v2/health/live", tags=["health"], response_model=records.Live)
async def live() -> Response:
    """The server answers. Says nothing about the work: see ready."""
    return records.answer(records.Live())


@router.get(
    "/health", tags=["health"], response_model=records.Ready, responses=fails(problems.NOT_READY)
)
@router.get(
    "/v2/health/ready",
    tags=["health"],
    response_model=records.Ready,
    responses=fails(problems.NOT_READY),
)
async def ready(readings: Source) -> Response:
    """Ready to serve, or 503 with every reason why not. `/health` is the short form."""
    readiness = readings.readiness()
    if readiness.ready:
        return records.answer(records.Ready.model_validate(readiness))
    reasons = list(readiness.reasons)
    detail = "; ".join(reasons) or "not ready, no reason given"
    body = {"ready": False, "reasons": reasons, "notes": list(readiness.notes)}
    raise Refused(problems.NOT_READY, detail, {"Retry-After": "5"}, **body)


@router.get(
    "/instruments",
    tags=["instruments"],
    response_model=records.InstrumentPage,
    responses=fails(problems.MISDIRECTED, problems.INVALID),
)
async def list_instruments(
    request: Request, readings: Source, window: Annotated[records.Listing, Query()]
) -> Response:
    """Instruments whose name contains `search`, sorted, a part at a time; of all workers.

    What could not be asked about is in `missing`.
    """
    lane: CapacityLimiter | None = None
    if window.workers == "this" or is_from_worker(request):
        listing = partial(own_page, readings, window)
    else:
        listing = partial(page_of_all, readings, request.app.state.peers, window)
        lane = request.app.state.relays
    page = await to_thread.run_sync(listing, limiter=lane, abandon_on_cancel=True)
    return records.answer(page)


ANYWHERE = fails(
    problems.UNKNOWN_INSTRUMENT,
    problems.MISDIRECTED,
    problems.INVALID,
    problems.MEMORY_UNAVAILABLE,
)


@router.get(
    "/instruments/{instrument:path}/forecast",
    tags=["instruments"],
    response_model=records.FreeRun,
    responses=ANYWHERE,
)
async def free_run(
    request: Request,
    readings: Source,
    name: Name,
    steps: Annotated[int, Query(ge=1, le=MAX_STEPS, description="Ticks ahead.")] = 10,
) -> Response:
    """Forecasts of the next `steps` ticks: a free run on a copy of the memory, at its worker."""

    def find() -> records.FreeRun | None:
        run = readings.free_run(name, steps)
        return records.from_worker(records.FreeRun, run, readings.worker)

    return await read_anywhere(
        request, name, f"/forecast?steps={steps}", find, request.app.state.free_runs
    )


@router.get(
    "/instruments/{instrument:path}",
    tags=["instruments"],
    response_model=records.InstrumentAnswer,
    responses=ANYWHERE,
)
async def show_instrument(request: Request, readings: Source, name: Name) -> Response:
    """One instrument, from the worker that holds it: slot, ticks, forecast of the next, skill."""

    def find() -> records.InstrumentAnswer | None:
        view = readings.instrument(name)
        return records.from_worker(records.InstrumentAnswer, view, readings.worker)

    return await read_anywhere(request, name, "", find)


@router.get(
    "/workers",
    tags=["service"],
    response_model=records.Workers,
    responses=fails(problems.REGISTRY_UNAVAILABLE, problems.MEMORY_UNAVAILABLE),
)
def list_workers(request: Request, readings: Source) -> Response:
    """All workers of the group with their addresses and live partitions."""
    peers: Peers = request.app.state.peers
    found = peers.workers()
    return records.answer(
        records.Workers(
            worker=readings.worker,
            workers=[records.Worker.model_validate(entry) for entry in found],
            unassigned=peers.unassigned(found),
        )
    )


@router.get("/summary", tags=["service"], response_model=records.Summary)
def show_summary(readings: Source) -> Response:
    """This worker in one record: counts, slots, lag, skill, bundle, partitions."""
    return records.answer(records.Summary.model_validate(readings.summary()))


@router.get(
    "/metrics",
    tags=["service"],
    response_class=Response,
    responses={
        200: {"description": "Prometheus or OpenMetrics text", "content": {"text/plain": {}}}
    },
)
def show_metrics(request: Request) -> Response:
    """All metrics for Prometheus, as OpenMetrics when asked for."""
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(request.app.state.metrics.registry), media_type=media_type)


@router.get(
    "/events",
    tags=["service"],
    response_class=Response,
    responses={
        200: {"description": "Server-sent events", "content": {"text/event-stream": {}}},
        **fails(problems.INVALID, problems.TOO_MANY_STREAMS),
    },
)
async def show_events(request: Request, watch: Annotated[records.Watch, Query()]) -> Response:
    """A stream of `Event` records, at most two a second, of a part of the list of all workers."""
    return EventStream(request.app.state.events, watch)
