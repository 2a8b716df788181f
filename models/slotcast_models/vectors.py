"""A learnt vector per instrument: the file of a bundle that holds them.

An instrument's vector follows from its name and the bundle alone: it is put into a fresh row, and
nothing changes it afterwards, no reset and no import. An instrument that training never saw gets
the mean of those that it saw.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

VECTORS = "vectors.json"

Floats = NDArray[np.float32]


class Vectors(BaseModel):
    """vectors.json. All vectors have the same length."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    unknown: tuple[float, ...] = Field(description="That of an instrument not named here.")
    instruments: dict[str, tuple[float, ...]] = Field(description="Name -> vector.")

    def of(self, name: str | None) -> Floats:
        """The vector of an instrument, whether known or not; None is never known."""
        found = None if name is None else self.instruments.get(name)
        return np.array(found or self.unknown, np.float32)

    @property
    def numbers(self) -> int:
        """Numbers in a vector; 0 if they differ."""
        lengths = {len(vector) for vector in (self.unknown, *self.instruments.values())}
        return lengths.pop() if len(lengths) == 1 else 0


def numbered(names: Sequence[str]) -> NDArray[np.int64]:
    """Each name's number among the distinct ones, in order of appearance."""
    place: dict[str, int] = {}
    return np.array([place.setdefault(name, len(place)) for name in names], np.int64)


def learnt_vectors(table: Floats, names: Sequence[str], seen: Sequence[int]) -> Vectors:
    """Of a table [distinct names, numbers], the rows `seen` by training, and their mean."""
    distinct = list(dict.fromkeys(names))
    return Vectors(
        unknown=tuple(table[list(seen)].mean(axis=0, dtype=np.float64).tolist()),
        instruments={distinct[i]: tuple(table[i].tolist()) for i in seen},
    )
