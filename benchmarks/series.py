"""Series of many kinds, made from a seed: what anybody can train and try a network on.

    several = generated(seed=1, each=48)    # one set without a season, five with a declared one

Each kind draws its own constants for every series, over wide ranges, so that a network cannot learn
one series by heart: it has to find out from the last ticks which kind is before it. A series is an
instrument with one target, in units of its own; the network sees scaled changes only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from benchmarks.forecast_sets import Ticks
from slotcast_models.schema import Quantity, TickSchema

Floats = NDArray[np.float64]
Kind = Callable[[Generator, int], Floats]
SECOND_NS = 10**9
SHORTEST, LONGEST = 60, 1500
DAYS = {7: False, 12: False, 24: True, 48: False, 96: False}
"""Lengths of a day that is declared in the schema -> whether there is a week too."""
SCHEMA = TickSchema(targets=(Quantity(name="value"),), kind="sensor")


def _filtered(shocks: Floats, *weights: float) -> Floats:
    """x[i] = weights . (x[i - 1], x[i - 2], ..) + shocks[i]."""
    found, order = np.zeros(len(shocks) + len(weights)), len(weights)
    for i, shock in enumerate(shocks):
        found[i + order] = shock + sum(w * found[i + order - 1 - k] for k, w in enumerate(weights))
    return found[order:]


def _shocks(rng: Generator, n: int) -> Floats:
    """Normal, or with heavy tails, or with a spread that comes and goes."""
    kind = rng.integers(3)
    if kind == 0:
        return rng.normal(size=n)
    if kind == 1:
        return rng.standard_t(rng.uniform(3.0, 8.0), n)
    spread = _filtered(rng.normal(0.0, rng.uniform(0.05, 0.3), n), rng.uniform(0.9, 0.99))
    return rng.normal(size=n) * np.exp(spread)


def level(rng: Generator, n: int) -> Floats:
    """Readings of a level that hardly moves."""
    return rng.normal(size=n) + np.cumsum(rng.normal(0.0, 10 ** rng.uniform(-3.0, -0.3), n))


def autoregressive(rng: Generator, n: int) -> Floats:
    """Comes back to its mean, read with some noise."""
    return _filtered(_shocks(rng, n), rng.uniform(-0.5, 0.98)) + rng.normal(
        0.0, rng.uniform(0.0, 1.0), n
    )


def oscillation(rng: Generator, n: int) -> Floats:
    """Swings that die out, and are kicked on."""
    radius, turn = rng.uniform(0.8, 0.995), 2.0 * np.pi / rng.uniform(4.0, 60.0)
    swing = _filtered(_shocks(rng, n), 2.0 * radius * np.cos(turn), -radius * radius)
    return swing + rng.normal(0.0, rng.uniform(0.0, 0.3) * swing.std(), n)


def seasonal(rng: Generator, n: int) -> Floats:
    """A day of its own shape, and weather around it."""
    length, phase = rng.uniform(6.0, 200.0), np.arange(n)
    day = np.zeros(n)
    for k in range(1, 5):
        wave = 2.0 * np.pi * k * phase / length + rng.uniform(0.0, 2.0 * np.pi)
        day += rng.normal(0.0, 1.0 / k) * np.sin(wave)
    weather = _filtered(_shocks(rng, n), rng.uniform(0.3, 0.99))
    return day / day.std() + rng.uniform(0.05, 1.0) * weather / weather.std()


def walk(rng: Generator, n: int) -> Floats:
    """A price: no change can be foreseen."""
    return np.cumsum(_shocks(rng, n))


def bounce(rng: Generator, n: int) -> Floats:
    """A price that is read now at the bid, now at the ask."""
    side = rng.choice([-0.5, 0.5], n)
    return np.cumsum(_shocks(rng, n)) + rng.uniform(0.3, 3.0) * side


def trend(rng: Generator, n: int) -> Floats:
    """Changes that go on for a while, some noise on the value."""
    changes = _filtered(_shocks(rng, n), rng.uniform(0.2, 0.97))
    return np.cumsum(changes) + rng.normal(0.0, rng.uniform(0.0, 1.0) * changes.std(), n)


def shifts(rng: Generator, n: int) -> Floats:
    """A level that jumps now and then, read with noise."""
    jumps = rng.normal(0.0, rng.uniform(2.0, 10.0), n) * (rng.random(n) < rng.uniform(0.002, 0.05))
    return np.cumsum(jumps) + rng.normal(size=n)


def intermittent(rng: Generator, n: int) -> Floats:
    """Nothing for a while, then something, and back."""
    busy = _filtered(rng.normal(size=n), rng.uniform(0.0, 0.9))
    return np.where(busy > np.quantile(busy, rng.uniform(0.5, 0.9)), rng.gamma(2.0, size=n), 0.0)


def rounded(rng: Generator, n: int) -> Floats:
    """Any of the others, read in coarse steps."""
    others = [kind for kind in KINDS.values() if kind is not rounded]
    value = others[rng.integers(len(others))](rng, n)
    step = np.diff(value).std() * rng.uniform(0.3, 3.0)
    return np.round(value / step) * step


KINDS: dict[str, Kind] = {
    kind.__name__: kind
    for kind in (
        level, autoregressive, oscillation, seasonal, walk, bounce, trend, shifts, intermittent,
        rounded,
    )
}  # fmt: skip


def _length(rng: Generator, shortest: int, longest: int) -> int:
    return int(np.exp(rng.uniform(np.log(shortest), np.log(longest))))


def _times(rng: Generator, n: int) -> NDArray[np.int64]:
    """Every second, or for three in ten series at random pauses."""
    if rng.random() < 0.7:
        return np.arange(n) * SECOND_NS
    return np.cumsum(rng.exponential(SECOND_NS, n)).astype(np.int64)


def generated(seed: int, each: int) -> list[Ticks]:
    """`each` series of each kind, and half as many of each length of a declared day.

    Equal arguments give equal ticks. One set per schema.
    """
    rng = np.random.default_rng(seed)
    kinds = [kind for kind in KINDS.values() for _ in range(each)]
    parts = []
    for kind in kinds:
        n = _length(rng, SHORTEST, LONGEST)
        parts.append((_times(rng, n), kind(rng, n)))
    found = [_side_by_side(SCHEMA, parts)]
    for day, has_week in DAYS.items():
        several = []
        for _ in range(each // 2):
            n = _length(rng, 5 * day, max(20 * day, LONGEST))
            several.append((np.arange(n) * SECOND_NS, _days(rng, n, day, has_week)))
        found.append(_side_by_side(_schema(day, has_week), several))
    return found


def _days(rng: Generator, n: int, day: int, has_week: bool) -> Floats:
    """The same day again and again, with a week of busy and quiet ones, and weather around it."""
    step, hours = np.arange(n), rng.normal(size=day)
    for _ in range(rng.integers(1, 4)):
        hours = (np.roll(hours, 1) + hours + np.roll(hours, -1)) / 3.0
    busy = 1.0 + rng.normal(0.0, rng.uniform(0.0, 0.4), 7) * has_week
    value = hours[step % day] * busy[step // day % 7]
    weather = _filtered(_shocks(rng, n), rng.uniform(0.3, 0.99))
    slope = rng.uniform(-0.05, 0.05) * step / day
    return value / value.std() + rng.uniform(0.05, 0.7) * weather / weather.std() + slope


def _schema(day: int, has_week: bool) -> TickSchema:
    seasons = (day, 7 * day) if has_week else (day,)
    return SCHEMA.model_copy(update={"step_ms": 1000, "seasons": seasons})


def _side_by_side(schema: TickSchema, parts: list[tuple[NDArray[np.int64], Floats]]) -> Ticks:
    slot = np.repeat(np.arange(len(parts)), [len(value) for _, value in parts])
    time_ns, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((slot, time_ns))
    return Ticks(schema, slot[order], time_ns[order], value[order, None])
