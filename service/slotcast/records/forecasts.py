"""Forecast records: published columns in, bytes in the schema's format out.

A record is a pure function of the log and the bundle: no clock, worker, slot or wave in it. Its
`tick` and `model` say where it comes from; two records with the same `tick` are the same bytes.
Format: docs/records.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from slotcast.formats.choice import format_of
from slotcast.records.times import external_times
from slotcast_models.bundle import Bundle
from slotcast_models.columns import Published, chosen

BLOCK_TICKS = 256
"""Records are made in blocks of this many, so that their numbers stay in the processor's cache."""


class TargetForecast(msgspec.Struct, gc=False):
    """One target's forecast of the next tick, in the target's own unit.

    `naive` is persistence: this tick's value. `lower` and `upper` have one number per level.
    `source` is "model", or "persistence" where the guard found the model no better. The last two
    are there if the network has such a head: values by probability, probabilities by class.
    """

    value: float
    forecast: float
    naive: float
    lower: list[float]
    upper: list[float]
    source: str
    skill: float | None
    quantiles: dict[str, float] | msgspec.UnsetType = msgspec.UNSET
    probabilities: dict[str, float] | msgspec.UnsetType = msgspec.UNSET


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
        schema, network = bundle.schema, bundle.manifest.network
        self._head, self._extras = network.head, network.extras
        self._unit = schema.time_unit
        form = format_of(schema)
        writer = form.writer([target.name for target in schema.targets])
        self._encode, self._has_nan = writer.record, not form.text
        # What is the same in every record is encoded once.
        self._levels: Any = writer.part(bundle.manifest.rules.levels)
        self._model: Any = writer.part(Model(bundle.identity, numerics))
        names = {f"t{j}": target.name for j, target in enumerate(schema.targets)}
        fields = [(field, TargetForecast) for field in names]
        self._targets: Any = msgspec.defstruct("Targets", fields, rename=names, gc=False)

    def encode(
        self,
        partition: int,
        names: Sequence[str],
        time_ns: NDArray[np.int64],
        offsets: NDArray[np.int64],
        value: NDArray[np.float64],
        published: Published,
    ) -> Iterator[bytes]:
        """One record per tick; all arguments have the same length n, `published` included.

        Records are made when they are asked for: who sends them has the log's client and the
        broker work on one block while the next is made.
        """
        for first in range(0, len(names), BLOCK_TICKS):
            block = slice(first, first + BLOCK_TICKS)
            part = names[block], time_ns[block], offsets[block], value[block]
            yield from self._encode_block(partition, *part, chosen(published, block))

    def _encode_block(
        self,
        partition: int,
        names: Sequence[str],
        time_ns: NDArray[np.int64],
        offsets: NDArray[np.int64],
        value: NDArray[np.float64],
        published: Published,
    ) -> list[bytes]:
        encode, levels, model = self._encode, self._levels, self._model
        columns = zip(
            names,
            external_times(time_ns, self._unit),
            map(
                self._targets,
                *(self._of_target(j, value, published) for j in range(published.point.shape[1])),
            ),
            offsets.tolist(),
            published.origin.tolist(),
            published.ticks.tolist(),
            strict=True,
        )
        return [
            encode(
                ForecastRecord(
                    instrument,
                    ts,
                    targets,
                    levels,
                    TickPosition(partition, offset, origin, ticks),
                    model,
                )
            )
            for instrument, ts, targets, offset, origin, ticks in columns
        ]

    def _of_target(
        self, j: int, value: NDArray[np.float64], published: Published
    ) -> Iterator[TargetForecast]:
        naive = value[:, j].tolist()
        return map(
            TargetForecast,
            naive,
            published.point[:, j].tolist(),
            naive,
            published.lower[:, j].tolist(),
            published.upper[:, j].tolist(),
            np.where(published.model[:, j], "model", "persistence").tolist(),
            self._skills(published.skill[:, j].tolist()),
            *self._named_extras(published.extra[:, j]),
        )

    def _skills(self, skills: list[float]) -> Sequence[float | None]:
        """The same with None for NaN, which msgspec writes as null in JSON anyway."""
        return [None if s != s else s for s in skills] if self._has_nan else skills

    def _named_extras(self, extra: NDArray[np.float64]) -> list[list[Any]]:
        """The last fields of the records, if there are any: quantiles, then probabilities."""
        if not self._extras:
            return []
        named = [dict(zip(self._extras, row, strict=True)) for row in extra.tolist()]
        return [named] if self._head == "quantiles" else [[msgspec.UNSET] * len(named), named]
