"""Series of single instruments: only when asked for, and never more than a fixed number.

Every instrument is several series in Prometheus, which keeps all of them in memory, so by default
there are none. `[metrics] instruments` says how many are shown; the first in name order are, and
`slotcast_instruments_dropped` counts those that are not. They are made at the scrape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric

from slotcast.board.views import InstrumentView, TargetView

TARGET_SERIES = {
    "value": "Last value of a target.",
    "expected": "What had been forecast for that value.",
    "forecast": "Forecast of the next value.",
    "lower": "Lower end of its interval.",
    "upper": "Upper end of its interval.",
    "skill": "1 - squared error / that of persistence.",
    "coverage": "Share of ticks inside the interval.",
}
"""Fields of a target's view that become series; one that is not known yet is left out."""
Shown = Callable[[], tuple[Sequence[InstrumentView], int]]


class InstrumentSeries:
    """A collector of what a page of the board shows."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._shown: Shown | None = None
        registry.register(self)

    def show(self, shown: Shown) -> None:
        """From now on; `shown` gives the views, and how many instruments there are in all."""
        self._shown = shown

    def collect(self) -> Iterator[Metric]:
        """One gauge per field, and how many instruments are left out."""
        views, total = self._shown() if self._shown else ((), 0)
        ticks = _family("ticks", "Ticks that the memory holds.")
        targets = {name: _family(name, text, "target") for name, text in TARGET_SERIES.items()}
        for view in views:
            place = [view.instrument, str(view.partition)]
            ticks.add_metric(place, view.ticks)
            for target in view.targets:
                _add(targets, [*place, target.name], target)
        dropped = GaugeMetricFamily(
            "slotcast_instruments_dropped", "Instruments beyond metrics.instruments: no series."
        )
        if self._shown:
            dropped.add_metric((), total - len(views))
        yield from (ticks, *targets.values(), dropped)


def _family(name: str, documentation: str, *more: str) -> GaugeMetricFamily:
    labels = ("instrument", "partition", *more)
    return GaugeMetricFamily(f"slotcast_instrument_{name}", documentation, labels=labels)


def _add(families: dict[str, GaugeMetricFamily], labels: list[str], target: TargetView) -> None:
    for name, family in families.items():
        value = getattr(target, name)
        if value is not None:
            family.add_metric(labels, value)
