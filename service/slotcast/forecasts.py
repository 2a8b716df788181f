"""Forecast records: published columns in, JSON bytes out.

A record is a pure function of the log and the bundle: no clock, worker, slot or wave in it. Its
`tick` and `model` say where it comes from; two records with the same `tick` are the same bytes.
Format: docs/records.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from slotcast.ticks import external_times
from slotcast_models.bundle import Bundle
from slotcast_models.columns import Published


class TargetForecast(msgspec.Struct, gc=False):
    """One target's forecast of the next tick, in the target's own unit.

    `naive` is persistence: this tick's value. `lower` and `upper` have one number per level.
    `source` is "model", or "persistence" where the guard found the model no better.
    """

    value: float
    forecast: float
    naive: float
    lower: list[float]
    upper: list[float]
    source: str
    skill: float | None


class TickPosition(msgspec.Struct, gc=False):
    """The tick this forecast answers, and how the memory behind it came about."""

    partition: int
    offset: int
    origin: int
    ticks: int


class Model(msgspec.Struct, frozen=True):
    """The bundle and everything outside it that bits may depend on."""

    bundle: str
    numerics: str


class ForecastRecord(msgspec.Struct, gc=False):
    """The value of a forecast record."""

    instrument: str
    ts: int | float | str
    targets: dict[str, TargetForecast]
    levels: tuple[float, ...]
    tick: TickPosition
    model: Model


class ForecastEncoder:
    """Encoder for one bound bundle on this machine."""

    def __init__(self, bundle: Bundle, numerics: str) -> None:
        self._unit = bundle.schema.time_unit
        self._targets = [q.name for q in bundle.schema.targets]
        self._levels = bundle.manifest.rules.levels
        self._model = Model(bundle.identity, numerics)
        self._encode = msgspec.json.Encoder().encode

    def encode(
        self,
        partition: int,
        names: Sequence[str],
        time_ns: NDArray[np.int64],
        offsets: NDArray[np.int64],
        value: NDArray[np.float64],
        published: Published,
    ) -> list[bytes]:
        """One record per tick; all arguments have the same length n, `published` included."""
        parts = [
            self._target_parts(value, published, j, name) for j, name in enumerate(self._targets)
        ]
        encode, levels, model = self._encode, self._levels, self._model
        return [
            encode(
                ForecastRecord(
                    instrument,
                    ts,
                    dict(targets),
                    levels,
                    TickPosition(partition, offset, origin, ticks),
                    model,
                )
            )
            for instrument, ts, offset, origin, ticks, *targets in zip(
                names,
                external_times(time_ns, self._unit),
                offsets.tolist(),
                published.origin.tolist(),
                published.ticks.tolist(),
                *parts,
                strict=True,
            )
        ]

    def _target_parts(
        self, value: NDArray[np.float64], published: Published, j: int, name: str
    ) -> list[tuple[str, TargetForecast]]:
        naive = value[:, j].tolist()
        skill = published.skill[:, j]
        columns = zip(
            naive,
            published.point[:, j].tolist(),
            published.lower[:, j].tolist(),
            published.upper[:, j].tolist(),
            published.model[:, j].tolist(),
            skill.tolist(),
            strict=True,
        )
        return [
            (
                name,
                TargetForecast(
                    v, p, v, low, high, "model" if m else "persistence", None if s != s else s
                ),
            )
            for v, p, low, high, m, s in columns
        ]
