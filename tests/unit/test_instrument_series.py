"""Instruments have series of their own when asked for, that many, and say who is left."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import ValidationError

from slotcast.board.views import InstrumentView, TargetView
from slotcast.bootstrap import build_worker
from slotcast.instrument_series import TARGET_SERIES, InstrumentSeries
from slotcast.log.memory.log import MemoryLog
from slotcast.metrics import Metrics
from slotcast.settings import MetricsSettings, Settings
from tests.simulation.world import SCHEMA, World, drain, write_event


def view(name: str, skill: float | None = 0.25) -> InstrumentView:
    target = TargetView("price", 10.0, 11.0, 9.0, 13.0, 10.0, "model", skill, 0.9, expected=10.5)
    return InstrumentView(name, 3, 0, 7, 1_000, 41, 0, [target])


def test_without_a_request_there_is_no_series() -> None:
    registry = CollectorRegistry()
    InstrumentSeries(registry)

    assert not [sample for family in registry.collect() for sample in family.samples]


def test_what_is_shown_is_a_series_per_field_and_the_rest_is_counted() -> None:
    registry = CollectorRegistry()
    InstrumentSeries(registry).show(lambda: ([view("A"), view("B")], 5))
    where = {"instrument": "A", "partition": "3"}

    found = {
        name: registry.get_sample_value(f"slotcast_instrument_{name}", where | {"target": "price"})
        for name in TARGET_SERIES
    }

    assert list(found.values()) == [10.0, 10.5, 11.0, 9.0, 13.0, 0.25, 0.9]
    assert registry.get_sample_value("slotcast_instrument_ticks", where) == 7
    assert registry.get_sample_value("slotcast_instruments_dropped") == 3


@pytest.mark.parametrize(("most", "shown"), [(0, []), (3, ["I1", "I2", "I3"]), (9, None)])
def test_no_more_instruments_have_series_than_were_asked_for(
    most: int, shown: list[str] | None
) -> None:
    """However many there are: Prometheus keeps every series of theirs in memory."""
    world = World([("tick", 0, f"I{i % 7}", 1_000 * i, 10.0 + i % 4, 1, i) for i in range(70)])
    asked = MetricsSettings(instruments=most, search="i")
    settings = Settings(schema=SCHEMA, metrics=asked)
    log: Any = MemoryLog(1, world.broker)
    worker = build_worker(settings, log, world.store, Metrics())
    drain(worker, world)
    write_event(world.broker, ("reset", 0, "I0"))
    drain(worker, world)
    shown = [f"I{i}" for i in range(1, 7)] if shown is None else shown

    series = [
        sample
        for family in worker.parts.metrics.registry.collect()
        for sample in family.samples
        if "instrument" in sample.labels
    ]

    assert sorted({one.labels["instrument"] for one in series}) == shown
    assert len(series) == len(shown) * (1 + len(TARGET_SERIES))
    dropped = worker.parts.metrics.registry.get_sample_value("slotcast_instruments_dropped")
    assert dropped == (6 - len(shown) if most else None)


def test_a_thousand_are_the_most_that_can_be_asked_for() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 1000"):
        MetricsSettings(instruments=1_001)


def test_what_is_not_known_yet_has_no_series() -> None:
    registry = CollectorRegistry()
    InstrumentSeries(registry).show(lambda: ([view("A", skill=None)], 1))
    text = generate_latest(registry).decode()

    assert "slotcast_instrument_value{" in text
    assert "slotcast_instrument_skill{" not in text
