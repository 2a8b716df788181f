"""Reading an instrument wherever it is: here, else at the worker that holds it.

A request that another worker sent is answered for this worker only, so none goes round in circles.
What another worker answered is handed on as it is; it names that worker.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from urllib.parse import quote

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import Response

from slotcast.api import problems, records
from slotcast.api.problems import Refused
from slotcast.board.views import Readings
from slotcast.workers.peers import ASKED_HEADER, Peers

RELAYS = 8  # at a time: each holds a thread while another worker answers


async def read_anywhere(
    request: Request,
    name: str,
    path: str,
    find: Callable[[], records.Record | None],
    lane: CapacityLimiter | None = None,
) -> Response:
    """What `find` finds here, else what its owner answers at /instruments/NAME`path`.

    Raises `Refused`, `MemoryUnavailable`.
    """
    readings: Readings = request.app.state.readings
    asked_by_worker = is_from_worker(request)
    before = readings.live()
    record = await to_thread.run_sync(find, limiter=lane, abandon_on_cancel=True)
    if record is not None:
        return records.answer(record)
    # What moved meanwhile was not looked at for sure.
    covered = before & readings.live()
    peers: Peers = request.app.state.peers
    if asked_by_worker:
        raise unknown(name, readings.worker, covered)
    body = await to_thread.run_sync(
        peers.read,
        name,
        f"/instruments/{quote(name, safe='')}{path}",
        covered,
        limiter=request.app.state.relays,
        abandon_on_cancel=True,
    )
    if body is None:
        raise unknown(name, readings.worker, peers.everywhere())
    return records.plain_answer(body)


def is_from_worker(request: Request) -> bool:
    """Whether another worker asks. Raises `Refused` where it means a third one."""
    own = request.app.state.readings.worker
    asked = request.headers.get(ASKED_HEADER)
    if asked not in (None, own):
        detail = f"this is worker {own}, not {asked}: set http.advertise of {asked}"
        raise Refused(problems.MISDIRECTED, detail)
    return asked is not None


def unknown(name: str, worker: str, partitions: Collection[int]) -> Refused:
    """The problem of an instrument that is in none of these partitions."""
    where = ", ".join(map(str, sorted(partitions))) or "none"
    detail = (
        f"no instrument {name!r} in partitions {where}: list them with GET /instruments?search="
    )
    return Refused(
        problems.UNKNOWN_INSTRUMENT, detail, worker=worker, partitions=sorted(partitions)
    )
