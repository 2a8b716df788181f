"""A store that fails, forgets or goes back in time, and partitions that change hands: no trace."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from slotcast.store.port import StoreUnavailable
from slotcast.worker import Worker
from tests.simulation.scripts import random_events
from tests.simulation.test_invariance import reference
from tests.simulation.world import World, drain, is_drained

SEEDS = st.integers(0, 10**6)


class Outage:
    """Calls of the store with numbers in these ranges fail, before or after they took effect."""

    def __init__(self, spans: list[tuple[int, int, bool]]) -> None:
        self.spans, self.calls = spans, 0

    def __call__(self, call: Any, *args: Any) -> Any:
        self.calls += 1
        hit = [after for first, length, after in self.spans if 0 <= self.calls - first < length]
        if hit and not hit[0]:
            raise StoreUnavailable("no answer")
        result = call(*args)
        if hit:
            raise StoreUnavailable("the answer was lost")
        return result


SPANS = st.lists(
    st.tuples(st.integers(1, 150), st.integers(1, 25), st.booleans()), min_size=1, max_size=4
)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, spans=SPANS, slots=st.integers(2, 8))
def test_a_store_that_does_not_answer_does_not_show(
    seed: int, spans: list[tuple[int, int, bool]], slots: int
) -> None:
    events, expected = reference(seed, 150, 2)
    world = World(events, 2)

    worker = world.worker(slots=slots, max_poll_ticks=5, store_fuse=Outage(spans))
    drain(worker, world)

    assert world.published == expected


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, moments=st.lists(st.integers(1, 30), min_size=1, max_size=3))
def test_a_wiped_store_does_not_show(seed: int, moments: list[int]) -> None:
    events, expected = reference(seed, 150)
    world = World(events)
    worker = world.worker(slots=2, max_poll_ticks=5)

    for turns in moments:
        run_turns(worker, turns)
        world.store._partitions.clear()
    drain(worker, world)

    assert world.published == expected


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, keep=st.integers(1, 25), lose=st.integers(1, 15), restart=st.booleans())
def test_a_store_that_goes_back_in_time_does_not_show(
    seed: int, keep: int, lose: int, restart: bool
) -> None:
    events, expected = reference(seed, 200)
    world = World(events)
    worker = world.worker(slots=2, max_poll_ticks=5)

    run_turns(worker, keep)
    before = copy.deepcopy(world.store._partitions)
    run_turns(worker, lose)
    world.store._partitions.clear()
    world.store._partitions.update(before)
    if restart:
        worker = world.worker(slots=3, max_poll_ticks=5)
    drain(worker, world)

    assert world.published == expected


@settings(max_examples=60, deadline=None)
@given(
    seed=SEEDS,
    moves=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 4)), max_size=12),
)
def test_partitions_that_change_hands_do_not_show(
    seed: int, moves: list[tuple[int, int, int]]
) -> None:
    events, expected = reference(seed, 150, 3)
    world = World(events, 3)
    members = [world.worker(slots=2, max_poll_ticks=4, takes_all=False) for _ in range(3)]
    for partition in range(3):
        world.broker.assign(members[0].parts.log, partition)

    for member, partition, turns in moves:
        world.broker.assign(members[member].parts.log, partition)
        for worker in members:
            run_turns(worker, turns)
    for _ in range(3_000):
        for worker in members:
            worker.turn()
        if is_drained(world):
            break

    assert world.published == expected


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, turns=st.integers(1, 30))
def test_a_reset_storm_of_paged_out_instruments_does_not_show(seed: int, turns: int) -> None:
    resets = [("reset", 0, f"I{i % 5}") for i in range(40)]
    events = [*random_events(seed, 60), *resets, ("reset-all", 0), *random_events(seed + 1, 60)]
    expected = World(events)
    expected.run(slots=64, max_poll_ticks=10_000)
    world = World(events)

    run_turns(world.worker(slots=1, max_poll_ticks=3), turns)
    world.run(slots=1, max_poll_ticks=2)

    assert world.published == expected.published


def run_turns(worker: Worker, turns: int) -> None:
    for _ in range(turns):
        worker.turn()
