"""What every peer does with a tick: the same step program, and around it the least there can be.

One input row of three numbers, one step, one forecast; no scale that is learnt, no readout, no
intervals, no checks, which slotcast all has. Needs numpy and LiteRT, and none of the peers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from slotcast_models.step import StepProgram

SCALE = 1e3
"""Logarithms of prices move by some thousandths."""
Floats = NDArray[np.float32]


class Topics(NamedTuple):
    """Where a peer reads and writes; `benchmarks/peers.py` tells it by the environment."""

    bootstrap: str
    ticks: str
    forecasts: str

    @classmethod
    def given(cls) -> Topics:
        """From the environment."""
        return cls(*(os.environ[name] for name in ("BOOTSTRAP", "TICKS", "FORECASTS")))


@dataclass(slots=True)
class Memory:
    """What an instrument carries from tick to tick."""

    log_price: float
    ts: int
    row: Floats

    def to_bytes(self) -> bytes:
        """For stores that keep bytes; some 1 KB."""
        return np.array([self.log_price, self.ts]).tobytes() + self.row.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Memory:
        """What `to_bytes` made."""
        log_price, ts = np.frombuffer(data[:16])
        return cls(float(log_price), int(ts), np.frombuffer(data[16:], np.float32))


class Forecaster:
    """Steps ticks that are already parsed."""

    def __init__(self) -> None:
        self._program = StepProgram(Path(os.environ["STEP"]).read_bytes())

    def fresh(self, tick: dict[str, Any]) -> Memory:
        """The memory of an instrument before its first tick."""
        return Memory(
            float(np.log(tick["price"])), tick["ts"], np.zeros(self._program.width, np.float32)
        )

    def step(self, ticks: list[dict[str, Any]], memories: list[Memory]) -> list[dict[str, Any]]:
        """One forecast per tick, and the memories go on; one tick per instrument."""
        x, logs = inputs(ticks, memories)
        y, rows = self._program.run(x, np.stack([memory.row for memory in memories]))
        for memory, log_price, tick, row in zip(memories, logs, ticks, rows, strict=True):
            memory.log_price, memory.ts, memory.row = log_price, tick["ts"], row
        return forecasts(ticks, logs, y)


def inputs(ticks: list[dict[str, Any]], memories: list[Memory]) -> tuple[Floats, list[float]]:
    """Network inputs `[n, 3]` and the logarithms of the prices."""
    logs = np.log([tick["price"] for tick in ticks]).tolist()
    x = np.array(
        [
            (SCALE * (log - memory.log_price), 0.0, (tick["ts"] - memory.ts) / 1e3)
            for log, memory, tick in zip(logs, memories, ticks, strict=True)
        ],
        np.float32,
    )
    return x, logs


def forecasts(ticks: list[dict[str, Any]], logs: list[float], y: Floats) -> list[dict[str, Any]]:
    """The records to publish."""
    points = np.exp(np.array(logs) + y[:, 0] / SCALE).tolist()
    return [
        {"instrument": t["instrument"], "ts": t["ts"], "price": t["price"], "forecast": point}
        for t, point in zip(ticks, points, strict=True)
    ]
