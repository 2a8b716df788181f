"""Ticks for benchmarks: waves for the predictor, record batches for the engine, real quotes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from slotcast.feeds.simulator import Market, encode
from slotcast.log.port import Batch
from slotcast_models.columns import Columns
from slotcast_models.memory import NEVER

STEP_NS = 10**9
START_MS = 1_399_230_000_000
QUOTES = Path("../shared/data/fx_ticks/fx_ticks.parquet")


class Waves:
    """Polls of one tick of each of `slots` slots: walks with a bounce, so that there is skill."""

    def __init__(self, slots: int, quantities: int = 1, step_ns: int = STEP_NS) -> None:
        self._rng, self._step_ns = np.random.default_rng(7), step_ns
        self._walk = np.zeros((slots, quantities))
        self._step = 0

    def next(self) -> Columns:
        """One wave."""
        slots, rng = len(self._walk), self._rng
        self._step += 1
        self._walk += 1e-4 * rng.normal(size=self._walk.shape)
        return Columns(
            slot=np.arange(slots),
            kind=np.zeros(slots, np.int8),
            time_ns=np.full(slots, self._step * self._step_ns),
            sequence=np.full(slots, NEVER),
            offset=np.full(slots, self._step),
            value=100.0 * np.exp(self._walk + 2e-4 * rng.normal(size=self._walk.shape)),
            step_ns=np.zeros(slots, np.int64),
        )


def market_batches(instruments: int, ticks: int) -> Iterator[Batch]:
    """Batches of `ticks` records of the simulated market, without end."""
    market, first = Market(instruments), 0
    while True:
        block = market.next(ticks)
        keys, values = encode(block, market.names)
        yield _batch(first, block.ts_ms, keys, values)
        first += ticks


def quote_batches(ticks: int) -> tuple[str, Iterator[Batch]]:
    """Five hot instruments: where their quotes come from, and batches of `ticks` of them."""
    if QUOTES.exists():
        return "fx_ticks", _recorded(ticks)
    return f"simulated, as {QUOTES} is absent", _simulated(ticks)


def _recorded(ticks: int) -> Iterator[Batch]:
    first = 0
    for block in pq.ParquetFile(QUOTES).iter_batches(ticks):
        names, times, bids, asks = (
            block.column(name).to_pylist() for name in ("instrument", "ts", "bid", "ask")
        )
        yield _quotes(first, names, times, bids, asks)
        first += len(names)


def _simulated(ticks: int) -> Iterator[Batch]:
    rng = np.random.default_rng(5)
    names = [f"PAIR{i}" for i in range(5)]
    first, time_ms, walk = 0, START_MS, np.zeros(5)
    while True:
        chosen = rng.choice(5, ticks, p=[0.2, 0.1, 0.2, 0.1, 0.4])
        times = time_ms + rng.integers(0, 250, ticks).cumsum()
        bids = []
        for i in chosen.tolist():
            walk[i] += 1e-5 * rng.normal()
            bids.append(1.3 + walk[i])
        yield _quotes(
            first, [names[i] for i in chosen], times.tolist(), bids, [bid + 2e-4 for bid in bids]
        )
        first, time_ms = first + ticks, int(times[-1])


def _quotes(
    first: int, names: list[str], times: list[int], bids: list[float], asks: list[float]
) -> Batch:
    values = [
        f'{{"instrument":"{name}","ts":{ts},"bid":{bid!r},"ask":{ask!r}}}'.encode()
        for name, ts, bid, ask in zip(names, times, bids, asks, strict=True)
    ]
    return _batch(first, np.array(times), [name.encode() for name in names], values)


def _batch(
    first: int, times_ms: NDArray[np.int64], keys: list[bytes], values: list[bytes]
) -> Batch:
    offsets = np.arange(first, first + len(values))
    return Batch(0, offsets, np.asarray(times_ms, np.int64), keys, values)
