"""Offsets that have expired are found again in what was published, and that does not show."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotcast.log.memory.history import MemoryHistory
from slotcast.offsets import Unrestorable, begun, restored
from slotcast.worker import Worker
from tests.simulation.test_invariance import reference
from tests.simulation.world import World, drain


def bundle_of(worker: Worker) -> str:
    return worker.parts.engine.predictor.bundle.identity


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), turns=st.integers(3, 40), wiped=st.booleans())
def test_restored_offsets_do_not_show(seed: int, turns: int, wiped: bool) -> None:
    events, expected = reference(seed, 150, 2)
    world = World(events, 2)
    worker = world.worker(slots=3, max_poll_ticks=5)
    for _ in range(turns):
        worker.turn()
    before = dict(world.broker.offsets)
    world.broker.offsets.clear()
    if wiped:
        world.store._partitions.clear()

    history = MemoryHistory(world.broker)
    for partition, at in before.items():
        found = restored(history, partition, bundle_of(worker), "", None)
        if found is not None:
            assert found.offset <= at.offset
            world.broker.offsets[partition] = found
    world.run(slots=3, max_poll_ticks=5)

    assert world.published == expected


def test_without_its_first_forecasts_the_origin_has_to_be_told() -> None:
    events, expected = reference(3, 100)
    world = World(events)
    worker = world.run()
    history = MemoryHistory(world.broker)
    history.trimmed["forecasts", 0] = 5

    with pytest.raises(Unrestorable, match="give --origin OFFSET"):
        restored(history, 0, bundle_of(worker), "", None)
    world.broker.offsets.clear()
    found = restored(history, 0, bundle_of(worker), "", 0)
    assert found is not None
    world.broker.offsets[0] = found
    world.run()

    assert world.published == expected


def test_what_another_bundle_made_is_not_restored() -> None:
    world = World(reference(3, 50)[0])
    world.run()

    with pytest.raises(Unrestorable, match="give that bundle and its schema"):
        restored(MemoryHistory(world.broker), 0, "default-0000", "", None)


def test_where_nothing_was_published_there_is_nothing_to_restore() -> None:
    assert restored(MemoryHistory(World([]).broker), 0, "default-0000", "", None) is None


def test_an_empty_memory_begins_where_it_is_told_to() -> None:
    world = World(reference(3, 100)[0])
    worker = world.run()
    numerics = worker.parts.recovery.numerics
    count = len(world.broker.forecasts[0])

    world.broker.offsets[0] = begun(0, bundle_of(worker), numerics, "")
    second = world.worker()
    drain(second, world)

    again = world.broker.forecasts[0][count:]
    assert again == world.broker.forecasts[0][:count]
    assert second.partitions[0].damage == ""
