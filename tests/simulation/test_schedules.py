"""Several workers, and everything that may happen to them, in schedules made of a seed.

A failure names the command that repeats it. What such a seed taught us stands below by its name.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.simulation.schedule import Schedule, ScheduleFailed, run_schedule
from tests.simulation.world import World, drain, write_event

SCHEDULES = int(os.environ.get("SCHEDULES", "2000"))
AT_ONCE = 250


@pytest.mark.usefixtures("unlogged")
@pytest.mark.parametrize("first", range(0, SCHEDULES, AT_ONCE))
def test_no_schedule_shows(first: int) -> None:
    for seed in range(first, min(first + AT_ONCE, SCHEDULES)):
        run_schedule(seed)


def test_one_schedule_in_25_has_whole_workers() -> None:
    assert [seed for seed in range(60) if Schedule(seed).world.heard] == [0, 25, 50]


def test_a_seed_is_one_story() -> None:
    stories = [run_schedule(5).told for _ in range(2)]

    assert stories[0] == stories[1]
    assert len(stories[0]) > 20


def test_a_failing_schedule_names_the_command_that_repeats_it() -> None:
    schedule = Schedule(7)
    schedule.expected = {**schedule.expected, "dead_letters": []}

    with pytest.raises(ScheduleFailed, match=r"python -m tests\.simulation\.schedule 7$"):
        schedule.run()


def ticks_of(instruments: int, count: int) -> list[tuple[Any, ...]]:
    return [("tick", 0, f"I{i % instruments}", 1_000 * i, 10.0 + i % 7, 1, i) for i in range(count)]


def published_by_one_run(events: list[tuple[Any, ...]]) -> dict[str, Any]:
    world = World(events)
    world.run(slots=64, max_poll_ticks=10_000)
    return world.published


@pytest.mark.parametrize("loss", ["damaged", "gone"])
def test_a_paged_out_row_that_is_lost_does_not_show(loss: str) -> None:
    """Its instrument ticks after the watermark: a replay from there would never meet the row."""
    events = ticks_of(5, 40)
    world = World(events[:30])
    worker = world.run(slots=1, max_poll_ticks=3)
    for _ in range(20):
        worker.turn()
    rows = world.store._partitions[0].rows
    assert worker.partitions[0].watermark == 30

    for name, stored in list(rows.items()):
        if loss == "gone":
            del rows[name]
        else:
            rows[name] = stored._replace(row=stored.row[:-1])
    for event in events[30:]:
        write_event(world.broker, event)
    drain(worker, world)

    assert world.published == published_by_one_run(events)


def test_a_replay_of_more_instruments_than_slots_comes_to_its_end() -> None:
    """One read brings more instruments than there is room for."""
    events = ticks_of(50, 200)
    world = World(events)
    world.run(slots=2, max_poll_ticks=3)
    world.store._partitions.clear()

    world.run(slots=2, max_poll_ticks=3)

    assert world.published == published_by_one_run(events)
