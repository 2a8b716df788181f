"""Producers stop when they are told to, however slow they are."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from slotcast.feeds import produce
from slotcast.formats.choice import format_of
from slotcast.settings import KafkaSettings
from slotcast_models.schema import TickSchema


class Nowhere:
    """A producer whose records go nowhere."""

    def __init__(self, *_: Any) -> None:
        self.send = self.flush = self.close = lambda *_: None


@pytest.mark.timeout(20)
def test_a_market_of_a_tick_in_many_years_ends_when_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(produce, "TickProducer", Nowhere)
    stop, form = threading.Event(), format_of(TickSchema.default())
    stop.set()

    sent = produce.produce_market(KafkaSettings(), "ticks", 3, 1e-9, None, form, stop)

    assert sent == 0
