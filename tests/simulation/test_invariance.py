"""Nothing but the log and the bundle shows in what is published."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulation.scripts import random_events
from tests.simulation.world import Fuse, Killed, World, drain


def reference(seed: int, count: int, partitions: int = 1) -> tuple[list, dict]:
    events = random_events(seed, count, partitions=partitions)
    world = World(events, partitions)
    world.run(slots=64, max_poll_ticks=10_000)
    return events, world.published


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    poll=st.integers(1, 60),
    slots=st.integers(1, 6),
    partitions=st.integers(1, 3),
)
def test_polls_capacity_and_paging_do_not_show(
    seed: int, poll: int, slots: int, partitions: int
) -> None:
    events, expected = reference(seed, 150, partitions)
    world = World(events, partitions)

    world.run(slots=slots, max_poll_ticks=poll)

    assert world.published == expected


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), stops=st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_restarts_do_not_show(seed: int, stops: list[int]) -> None:
    events, expected = reference(seed, 200, 2)
    world = World(events, 2)

    for turns in stops:
        worker = world.worker(slots=2, max_poll_ticks=5)
        for _ in range(turns):
            worker.turn()
    world.run(slots=3, max_poll_ticks=11)

    assert world.published == expected


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    jumps_s=st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=20),
)
def test_a_clock_that_jumps_does_not_show(seed: int, jumps_s: list[float]) -> None:
    events, expected = reference(seed, 150)
    world = World(events)
    worker = world.worker(slots=3, max_poll_ticks=5)

    for jump_s in jumps_s:
        world.clock.now += jump_s
        worker.turn()
    world.clock.now = 0.0
    world.run(slots=3, max_poll_ticks=5)

    assert world.published == expected


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), turns=st.integers(1, 60))
def test_a_clean_stop_leaves_nothing_to_replay(seed: int, turns: int) -> None:
    events, expected = reference(seed, 150)
    world = World(events)
    first = world.worker(slots=3, max_poll_ticks=5)
    for _ in range(turns):
        first.turn()
    first.stop()
    first.run()
    committed = world.broker.offsets[0].offset

    second = world.worker(slots=3, max_poll_ticks=5)
    second.turn()
    assert second.partitions[0].replay_from == committed
    drain(second, world)

    assert world.published == expected


def calls_of_a_run(events: list, **options: int) -> int:
    fuse = Fuse()
    World(events).run(fuse=fuse, **options)
    return fuse.calls


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_kill_at_every_io_call_does_not_show(
    seed: int, after: bool, caplog: pytest.LogCaptureFixture
) -> None:
    events, expected = reference(seed, 80)
    options = {"slots": 2, "max_poll_ticks": 5}
    calls = calls_of_a_run(events, **options)
    assert calls > 50

    for kill_at in range(1, calls + 1):
        world = World(events)
        worker = world.worker(fuse=Fuse(kill_at, after), **options)
        with pytest.raises(Killed):
            drain(worker, world)
        world.run(**options)

        assert world.published == expected, f"seed {seed}, killed at call {kill_at}, {after=}"
    assert "replaying all of it" not in caplog.text  # every snapshot was good


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    kills=st.lists(st.tuples(st.integers(1, 120), st.booleans()), min_size=2, max_size=6),
)
def test_kills_in_a_row_do_not_show(seed: int, kills: list[tuple[int, bool]]) -> None:
    events, expected = reference(seed, 120, 2)
    world = World(events, 2)

    for kill_at, after in kills:
        worker = world.worker(slots=2, max_poll_ticks=6, fuse=Fuse(kill_at, after))
        try:
            drain(worker, world)
        except Killed:
            continue
    world.run(slots=2, max_poll_ticks=6)

    assert world.published == expected
