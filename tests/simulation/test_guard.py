"""What is published says whether it is the model's, and how often its intervals held."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from tests.simulation.test_tally import value
from tests.simulation.world import World

TICKS = 700


def events() -> list[tuple[Any, ...]]:
    """A price that swings to and fro, and one that goes where it likes."""
    rng = np.random.default_rng(4)
    swing = 100.0 + np.arange(TICKS) % 2 + 0.1 * rng.normal(size=TICKS)
    walk = 100.0 * np.exp(0.01 * rng.normal(size=TICKS).cumsum())
    return [
        ("tick", 0, name, 1_000 * i, float(price), 1, i)
        for i in range(TICKS)
        for name, price in (("swing", swing[i]), ("walk", walk[i]))
    ]


@pytest.fixture(scope="module")
def world() -> tuple[World, Any]:
    made = World(events())
    return made, made.run(max_poll_ticks=50)


def test_a_record_says_when_persistence_is_published(world: tuple[World, Any]) -> None:
    records = [msgspec.json.decode(record.value) for record in world[0].broker.forecasts[0]]
    said = {
        name: [record["targets"]["price"] for record in records if record["instrument"] == name]
        for name in ("swing", "walk")
    }

    for target in said["swing"] + said["walk"]:
        assert target["source"] in ("model", "persistence")
        if target["source"] == "persistence":
            assert target["forecast"] == target["naive"] == target["value"]
    models = {name: sum(t["source"] == "model" for t in found) for name, found in said.items()}
    assert models["swing"] > 0.9 * TICKS
    assert models["walk"] < 0.3 * TICKS
    assert said["swing"][0]["source"] == "persistence"
    assert any(t["forecast"] != t["naive"] for t in said["swing"])


def test_the_live_coverage_of_each_level_is_near_it(world: tuple[World, Any]) -> None:
    worker = world[1]

    for level in worker.parts.board.levels:
        live = value(worker, "coverage", level=f"{level:g}")
        assert live == pytest.approx(level, abs=0.05)
