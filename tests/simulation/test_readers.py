"""What readers see: memory as of the last commit, also right after a restart or a reset."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from slotcast.homes import Homes
from slotcast.partition import Phase
from slotcast.readings import ServiceReadings
from slotcast.store.memory import MemoryStore
from slotcast.store.port import StoreUnavailable
from slotcast.views import MemoryUnavailable
from slotcast.worker import Worker
from tests.simulation.world import World, drain, write_event


def ticks(name: str, count: int, start: int = 0) -> list[tuple]:
    return [
        ("tick", 0, name, 1_000 * (start + i), 10.0 + (start + i) % 3, 1, start + i)
        for i in range(count)
    ]


def readings_of(worker: Worker) -> ServiceReadings:
    return ServiceReadings(worker, Homes(worker, MemoryStore()), 10)


def names(worker: Worker) -> list[str]:
    return [view.instrument for view in readings_of(worker).instruments().instruments]


def test_a_restarted_worker_shows_instruments_before_they_tick() -> None:
    world = World([*ticks("A", 30), *ticks("B", 40), *ticks("C", 50)])
    first = world.run(slots=1)
    before = {view.instrument: view for view in first.parts.board.page("", 0, 9)[0]}
    first.stop()
    first.run()

    second = world.run(slots=1)

    after = {view.instrument: view for view in second.parts.board.page("", 0, 9)[0]}
    assert list(after) == ["A", "B", "C"]
    for name, view in after.items():
        target, same = view.targets[0], before[name].targets[0]
        assert (view.ticks, view.ts, view.origin) == (
            before[name].ticks, before[name].ts, before[name].origin
        )  # fmt: skip
        assert (target.value, target.forecast, target.lower, target.upper) == (
            same.value, same.forecast, same.lower, same.upper
        )  # fmt: skip
        assert (target.skill, target.coverage, target.source) == (
            same.skill, same.coverage, same.source
        )  # fmt: skip


def test_a_reset_instrument_is_not_shown_until_it_ticks() -> None:
    world = World([*ticks("A", 5), *ticks("B", 5), ("reset", 0, "A")])

    worker = world.run()
    assert names(worker) == ["B"]
    world.broker.feed(0, None, b"", 0, b'{"type":"reset-all"}')
    drain(worker, world)
    assert names(worker) == []
    for event in ticks("B", 2, 9):
        write_event(world.broker, event)
    drain(worker, world)

    assert [(v.instrument, v.ticks) for v in worker.parts.board.page("", 0, 9)[0]] == [("B", 2)]


def test_expected_is_what_had_been_forecast_for_the_value() -> None:
    world = World(ticks("A", 20))
    worker = world.worker(max_poll_ticks=7)
    drain(worker, world)

    view = worker.parts.board.find("A")

    assert view is not None
    published = world.broker.forecasts[0][-2].value
    assert f'"forecast":{view.targets[0].expected}'.encode() in published


def asked(worker: Worker, question: Callable[[], Any]) -> Any:
    """What a reader in a thread of its own gets while the worker turns."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(question)
        while worker._questions.empty() and not answer.done():
            time.sleep(0.001)
        while not answer.done():
            worker.turn()
        return answer.result()


@pytest.mark.parametrize("ask", ["instrument", "free_run"])
def test_memory_in_the_middle_of_a_replay_is_not_shown(ask: str) -> None:
    world = World(ticks("A", 400))
    world.run()
    world.store._partitions.clear()
    worker = world.worker()
    reader = readings_of(worker)
    questions = {
        "instrument": lambda: reader.instrument("A"),
        "free_run": lambda: reader.free_run("A", 3),
    }
    while not worker.parts.engine.slots.of_partition(0):
        worker.turn()

    found = asked(worker, questions[ask])

    assert worker.partitions[0].phase is Phase.RECOVERING
    assert found is None
    assert reader.live() == frozenset()
    drain(worker, world)
    assert reader.live() == {0}
    assert asked(worker, questions[ask]).as_of == 400


def test_a_row_that_cannot_be_had_from_the_store_is_said_to_be_so() -> None:
    world = World([*ticks("A", 3), *ticks("B", 5)])
    worker = world.run(slots=1)
    reader, store = readings_of(worker), worker.parts.residence._store

    def away(*_: object) -> list[bytes | None]:
        raise StoreUnavailable("redis is away")

    store.rows = away  # type: ignore[method-assign]
    with pytest.raises(MemoryUnavailable, match="'A' is paged out, and redis is away"):
        asked(worker, lambda: reader.free_run("A", 2))

    assert reader.instrument("A") is not None
    assert asked(worker, lambda: reader.free_run("B", 2)) is not None
