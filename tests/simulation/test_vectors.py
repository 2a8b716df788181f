"""A network that is told who an instrument is forecasts the same however the worker runs."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotcast.log.memory.history import MemoryHistory
from slotcast.proof.verify import Proof
from slotcast_models.bundle import Bundle
from slotcast_models.step import numerics
from slotcast_models.vectors import Vectors
from tests.networks import save_with_vectors
from tests.simulation.scripts import random_events
from tests.simulation.world import SCHEMA, World

VECTORS = Vectors(unknown=(0.2, 0.1), instruments={"I0": (1.0, -1.0), "I1": (-2.0, 0.5)})


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("made")
    save_with_vectors(made, SCHEMA, VECTORS)
    return made


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    slots=st.integers(1, 6),
    poll=st.integers(1, 40),
    stops=st.lists(st.integers(1, 40), max_size=4),
)
def test_paging_polls_and_restarts_do_not_show(
    path: Path, seed: int, slots: int, poll: int, stops: list[int]
) -> None:
    events = random_events(seed, 150, partitions=2)
    undisturbed = World(events, 2, bundle=path)
    undisturbed.run(slots=64, max_poll_ticks=10_000)
    world = World(events, 2, bundle=path)

    for turns in stops:
        worker = world.worker(slots=slots, max_poll_ticks=poll)
        for _ in range(turns):
            worker.turn()
    world.run(slots=slots, max_poll_ticks=poll)

    assert world.published == undisturbed.published


def test_every_forecast_is_proved_from_the_log(path: Path) -> None:
    world = World(random_events(3, 200), bundle=path)
    world.run(slots=3)

    bundle = Bundle.load(path).bind(SCHEMA)
    report = Proof(MemoryHistory(world.broker), bundle, numerics()).verify(0)

    assert not report.faults
    assert not report.undecided
    assert report.forecasts > 100
    first = msgspec.json.decode(world.broker.forecasts[0][0].value)
    assert first["model"]["bundle"] == bundle.identity
