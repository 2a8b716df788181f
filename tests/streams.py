"""Columns of ticks for tests of the numerics, and predictors of the default program to run them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from slotcast_models.bundle import Bundle
from slotcast_models.columns import RESET, Columns, Published
from slotcast_models.memory import NEVER, Memory, view
from slotcast_models.predictor import Predictor
from slotcast_models.schema import Quantity, TickSchema

SECOND_NS = 10**9
PRICE = TickSchema.default()
LEVEL = TickSchema(targets=(Quantity(name="level"),))
MIXED = TickSchema(
    targets=(Quantity(name="price", gt=0, log=True), Quantity(name="level")),
    features=(Quantity(name="load"),),
    sequence="number",
    max_gap_ms=60_000,
)
SEASONAL = MIXED.model_copy(update={"step_ms": 1000, "seasons": (4, 12)})
"""MIXED, with a day of four steps and a week of three days."""


@lru_cache
def predictor(schema: TickSchema = PRICE, **rules: Any) -> Predictor:
    """The default bundle for `schema`, with some of its rules replaced."""
    bundle = Bundle.load()
    replaced = bundle.manifest.rules.model_copy(update=rules)
    manifest = bundle.manifest.model_copy(update={"rules": replaced})
    return Predictor(Bundle(manifest, bundle.program).bind(schema))


def eager(schema: TickSchema = SEASONAL) -> Predictor:
    """A predictor that learns and publishes its model almost at once."""
    return predictor(schema, warmup_ticks=3, gate_t=-1e9, stage_prior=1.0)


def columns(
    value: ArrayLike,
    *,
    slot: ArrayLike | None = None,
    kind: ArrayLike | None = None,
    time_ns: ArrayLike | None = None,
    sequence: ArrayLike | None = None,
    offset: ArrayLike | None = None,
) -> Columns:
    """Ticks of slot 0, one a second, at offsets 0, 1, 2 ..., unless told otherwise."""
    values = np.array(value, np.float64, order="C")  # another order is compiled anew
    values = values.reshape(len(values), -1) if values.size else values.reshape(0, 1)
    n = len(values)

    def whole(given: ArrayLike | None, usual: ArrayLike) -> NDArray[np.int64]:
        return np.array(np.broadcast_to(usual if given is None else given, n), np.int64)

    return Columns(
        slot=whole(slot, 0),
        kind=whole(kind, 0).astype(np.int8),
        time_ns=whole(time_ns, np.arange(n) * SECOND_NS),
        sequence=whole(sequence, NEVER),
        offset=whole(offset, np.arange(n)),
        value=values,
        step_ns=np.zeros(n, np.int64),
    )


def part(whole: Columns, chosen: Any) -> Columns:
    """Some entries, copied."""
    return Columns(*(column[chosen].copy() for column in whole))


@dataclass(frozen=True)
class Run:
    """Rows after a run, and what was said on the way."""

    rows: NDArray[np.void]
    memory: Memory
    published: Published
    verdicts: NDArray[np.int8]


def run(
    stepper: Predictor,
    ticks: Columns,
    slots: int = 1,
    rows: NDArray[np.void] | None = None,
    cuts: Sequence[int] = (),
) -> Run:
    """Advance fresh rows (or `rows`, in place) by all ticks, cut into polls at `cuts`."""
    if rows is None:
        rows, _ = stepper.allocate(slots)
    memory, n = view(rows), len(ticks.slot)
    published = stepper.allocate_published(n)
    verdicts = np.zeros(n, np.int8)
    edges = [0, *sorted(cuts), n]
    for first, last in pairwise(edges):
        poll = slice(first, last)
        stepper.advance(
            memory,
            Columns(*(column[poll] for column in ticks)),
            verdicts[poll],
            Published(*(column[poll] for column in published)),
        )
    return Run(rows, memory, published, verdicts)


def same_bits(left: Any, right: Any) -> bool:
    """Whether two arrays, or tuples of arrays, agree in every bit."""
    if isinstance(left, tuple):
        return len(left) == len(right) and all(map(same_bits, left, right))
    return bool(left.shape == right.shape and left.tobytes() == right.tobytes())


def scripted(n: int = 600, slots: int = 5, seed: int = 0) -> Columns:
    """MIXED ticks with everything in them that a log can hold.

    Missing features, equal and late times, repeats, gaps, level breaks, resets, frozen stretches.
    """
    rng = np.random.default_rng(seed)
    slot = rng.integers(0, slots, n)
    pause = rng.choice([0.0, 0.2, 1.0, 3.0, -2.0, 5000.0], n, p=[0.1, 0.3, 0.3, 0.2, 0.08, 0.02])
    moves = rng.normal(size=(n, 3)) * [0.01, 1.0, 0.3] * (rng.random((n, 1)) < 0.8)
    moves += (rng.random((n, 1)) < 0.02) * rng.normal(size=(n, 3)) * [2.0, 200.0, 50.0]
    path = moves.cumsum(0)
    value = np.column_stack([100.0 * np.exp(path[:, 0]), path[:, 1], path[:, 2]])
    value[rng.random(n) < 0.25, 2] = np.nan
    sequence = np.arange(n) - 3 * (rng.random(n) < 0.05) * rng.integers(0, n, n)
    return columns(
        value,
        slot=slot,
        kind=np.where(rng.random(n) < 0.02, RESET, 0),
        time_ns=(pause.cumsum() * SECOND_NS).astype(np.int64),
        sequence=np.where(rng.random(n) < 0.2, NEVER, sequence),
    )


def interpreted() -> bool:
    """Whether the loops run in the Python interpreter."""
    return bool(numba.config.DISABLE_JIT)
