"""One-step baselines: what anybody would try first. A forecast of x[i] uses x[:i] alone.

Each takes one series [n] and returns its forecasts [n]; where nothing can be said yet, it says
persistence, and the first forecast is the first value itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from slotcast_models.compiled import compiled

Floats = NDArray[np.float64]
Baseline = Callable[[Floats], Floats]
RATES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
HOLT_WINTERS_GRID = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)


def persistence(x: Floats) -> Floats:
    """x[i - 1]."""
    return np.concatenate([x[:1], x[:-1]])


def drift(x: Floats) -> Floats:
    """x[i - 1] plus the mean change so far (Hyndman and Athanasopoulos, 2021, 5.2)."""
    found = persistence(x)
    found[2:] += (x[1:-1] - x[0]) / np.arange(1, len(x) - 1)
    return found


def ewma(x: Floats, rate: float) -> Floats:
    """Simple exponential smoothing: l += rate (x - l)."""
    found = np.empty_like(x)
    _smooth(x, rate, found)
    return found


@compiled
def _smooth(x: Floats, rate: float, found: Floats) -> None:
    level = x[0]
    for i in range(x.shape[0]):
        found[i] = level
        level += rate * (x[i] - level)


def best_ewma(x: Floats, known: int) -> Floats:
    """`ewma` at the rate of RATES that was best on the first `known` values."""
    errors = [np.square(x[:known] - ewma(x[:known], rate)).sum() for rate in RATES]
    return ewma(x, RATES[int(np.argmin(errors))])


def ar1(x: Floats) -> Floats:
    """c + phi x[i - 1] by least squares over all pairs so far, from the tenth value on.

    phi stays within -1 and 1: ten prices that hardly move and one jump would say far more.
    """
    found = persistence(x)
    _ar1(x, found)
    return found


@compiled
def _ar1(x: Floats, found: Floats) -> None:
    mean_x, mean_y, product, square = 0.0, 0.0, 0.0, 0.0
    for i in range(1, x.shape[0]):
        if i >= 10 and square > 0.0:
            phi = max(-1.0, min(1.0, product / square))
            found[i] = mean_y + phi * (x[i - 1] - mean_x)
        ahead = x[i - 1] - mean_x  # sums about the running means (Welford, 1962)
        mean_x += ahead / i
        mean_y += (x[i] - mean_y) / i
        product += ahead * (x[i] - mean_y)
        square += ahead * (x[i - 1] - mean_x)


def seasonal_naive(x: Floats, season: int) -> Floats:
    """x[i - season]."""
    found = persistence(x)
    found[season:] = x[:-season]
    return found


def holt_winters(x: Floats, season: int, alpha: float, beta: float, gamma: float) -> Floats:
    """Additive trend, multiplicative season (Winters, 1960); started on the first two seasons."""
    first, second = x[:season].mean(), x[season : 2 * season].mean()
    level, trend = first, (second - first) / season
    index, found = list(x[:season] / first), x.copy()
    for i in range(season, len(x)):
        at = i % season
        found[i] = (level + trend) * index[at]
        before = level
        level = alpha * x[i] / index[at] + (1.0 - alpha) * (level + trend)
        trend = beta * (level - before) + (1.0 - beta) * trend
        index[at] = gamma * x[i] / level + (1.0 - gamma) * index[at]
    return found


def best_holt_winters(x: Floats, season: int, known: int) -> Floats:
    """`holt_winters` with the constants of the grid that were best on the first `known` values."""
    scored = slice(2 * season, known)

    def error(constants: Sequence[float]) -> float:
        found = holt_winters(x[:known], season, *constants)
        return float(np.square(x[scored] - found[scored]).sum())

    grid = [(a, b, g) for a in HOLT_WINTERS_GRID for b in HOLT_WINTERS_GRID for g in RATES]
    return holt_winters(x, season, *min(grid, key=error))


def naive2(x: Floats, season: int, steps: int) -> Floats:
    """The next `steps` values by Naive2 of M4: persistence after a multiplicative seasonal
    adjustment, where the autocorrelation at the season is clear (one-sided 90 %).
    """
    index = seasonal_indices(x, season) if is_seasonal(x, season) else np.ones(season)
    phases = (len(x) + np.arange(steps)) % season
    return np.asarray(x[-1] / index[(len(x) - 1) % season] * index[phases])


def is_seasonal(x: Floats, season: int) -> bool:
    """The test of M4: |r_season| above 1.645 standard errors of Bartlett's formula."""
    if len(x) < 3 * season:
        return False
    centred = x - x.mean()
    total = np.square(centred).sum()
    if total == 0.0:
        return False
    r = [float(centred[k:] @ centred[:-k] / total) for k in range(1, season + 1)]
    limit = 1.645 * np.sqrt((1.0 + 2.0 * np.square(r[:-1]).sum()) / len(x))
    return bool(abs(r[-1]) > limit)


def seasonal_indices(x: Floats, season: int) -> Floats:
    """Classical decomposition: mean ratio to the centred moving average, by phase; mean 1."""
    weights = np.ones(season + 1 - season % 2)
    if season % 2 == 0:
        weights[[0, -1]] = 0.5
    average = np.convolve(x, weights / weights.sum(), mode="valid")
    start = len(weights) // 2
    phase = (start + np.arange(len(average))) % season
    ratio = x[start : start + len(average)] / average
    found = np.array([ratio[phase == p].mean() for p in range(season)])
    return np.asarray(found / found.mean())


def by_instrument(
    baseline: Callable[[Floats], Floats], slot: NDArray[np.int64], value: Floats
) -> Floats:
    """A baseline's forecasts for ticks of many instruments: rows [n, T] in the ticks' own order."""
    found = np.empty_like(value)
    for rows in rows_by_instrument(slot):
        for j in range(value.shape[1]):
            found[rows, j] = baseline(np.ascontiguousarray(value[rows, j]))
    return found


def rows_by_instrument(slot: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Indices of each instrument's ticks, in order; instruments by slot."""
    order = np.argsort(slot, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(slot[order])) + 1)
