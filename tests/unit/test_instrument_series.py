"""Instruments have series of their own when asked for, that many, and say who is left."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from slotcast.board.views import InstrumentView, TargetView
from slotcast.instrument_series import TARGET_SERIES, InstrumentSeries


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


def test_what_is_not_known_yet_has_no_series() -> None:
    registry = CollectorRegistry()
    InstrumentSeries(registry).show(lambda: ([view("A", skill=None)], 1))
    text = generate_latest(registry).decode()

    assert "slotcast_instrument_value{" in text
    assert "slotcast_instrument_skill{" not in text
