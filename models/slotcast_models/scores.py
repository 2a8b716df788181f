"""Scores of forecasts: pure functions of arrays. Lower is better, but for skill and coverage.

Errors are actual minus forecast. Whoever calls leaves out what was not scored. Sources: Hyndman and
Koehler (2006) for MASE, Makridakis et al. (2020) for sMAPE and OWA of the M4 competition, Gneiting
and Raftery (2007) for pinball, CRPS and the interval score of Winkler (1972).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NORMAL_95 = 1.959964


def mean_squared(error: Floats) -> float:
    """MSE: mean of e^2."""
    return float(np.mean(np.square(error)))


def root_mean_squared(error: Floats) -> float:
    """RMSE: root of the mean of e^2."""
    return math.sqrt(mean_squared(error))


def mean_absolute(error: Floats) -> float:
    """MAE: mean of |e|."""
    return float(np.mean(np.abs(error)))


def skill(error: Floats, naive_error: Floats) -> float:
    """1 - sum e^2 / sum e_naive^2; NaN where the naive forecast was never wrong."""
    naive = float(np.square(naive_error).sum())
    return 1.0 - float(np.square(error).sum()) / naive if naive > 0.0 else math.nan


def skills(error: Floats, naive_error: Floats, group: NDArray[np.int64], groups: int) -> Floats:
    """`skill` of each of the groups that the rows [n] belong to; errors are [n] or [n, T].

    Returns [groups] or [groups, T]; NaN for a group without an error of the naive forecast.
    """
    shape = (groups, *error.shape[1:])
    own, naive = np.zeros(shape), np.zeros(shape)
    np.add.at(own, group, np.square(error))
    np.add.at(naive, group, np.square(naive_error))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(naive > 0.0, 1.0 - own / naive, np.nan)


def seasonal_spread(history: Floats, season: int = 1) -> float:
    """Mean |x_t - x_(t - season)| over the history: what MASE divides by."""
    return mean_absolute(history[season:] - history[:-season])


def mase(error: Floats, history: Floats, season: int = 1) -> float:
    """MAE over the seasonal spread of the history."""
    return mean_absolute(error) / seasonal_spread(history, season)


def smape(actual: Floats, forecast: Floats) -> float:
    """Mean of 200 |y - f| / (|y| + |f|), in percent."""
    return float(np.mean(200.0 * np.abs(actual - forecast) / (np.abs(actual) + np.abs(forecast))))


def owa(smapes: Floats, mases: Floats, naive_smapes: Floats, naive_mases: Floats) -> float:
    """OWA of M4: mean of the two scores over those of Naive2, averaged over series first."""
    ratios = smapes.mean() / naive_smapes.mean(), mases.mean() / naive_mases.mean()
    return float(sum(ratios) / 2.0)


def coverage(actual: Floats, lower: Floats, upper: Floats) -> float:
    """Share of values within their interval, bounds included."""
    return float(np.mean((lower <= actual) & (actual <= upper)))


def winkler(actual: Floats, lower: Floats, upper: Floats, level: float) -> float:
    """Interval score: mean of the width plus 2 / (1 - level) times what lies outside."""
    outside = np.maximum(lower - actual, 0.0) + np.maximum(actual - upper, 0.0)
    return float(np.mean(upper - lower + 2.0 / (1.0 - level) * outside))


def pinball_losses(actual: Floats, quantile: Floats, share: float) -> Floats:
    """Pinball loss of each forecast of the quantile below which `share` of values fall."""
    over = actual - quantile
    return np.maximum(share * over, (share - 1.0) * over)


def pinball(actual: Floats, quantile: Floats, share: float) -> float:
    """Mean pinball loss."""
    return float(np.mean(pinball_losses(actual, quantile, share)))


def crps(actual: Floats, lower: Floats, upper: Floats, levels: Floats) -> float:
    """Continuous ranked probability score from interval bounds [..., L]; see `crps_of_losses`."""
    below, above = (1.0 - levels) / 2.0, (1.0 + levels) / 2.0
    return crps_of_losses(
        np.array([pinball(actual, lower[..., i], share) for i, share in enumerate(below)]),
        np.array([pinball(actual, upper[..., i], share) for i, share in enumerate(above)]),
        levels,
    )


def crps_of_losses(below: Floats, above: Floats, levels: Floats) -> float:
    """CRPS from the mean pinball losses [L] of lower and upper bounds: twice the loss, integrated
    over the shares by the trapezoid rule, with a loss of 0 at shares 0 and 1.
    """
    shares = np.concatenate([(1.0 - levels[::-1]) / 2.0, (1.0 + levels) / 2.0])
    losses = np.concatenate([below[::-1], above])
    return 2.0 * float(np.trapezoid([0.0, *losses, 0.0], [0.0, *shares, 1.0]))


def thirds(measure: Floats) -> NDArray[np.int64]:
    """0, 1 or 2 for each value: the third of all, in rising order, that its middle rank is in.

    Equal values stay together, so thirds need not be equally large; if all are equal they are 1.
    """
    _, place, counts = np.unique(measure, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - counts / 2.0) / len(measure)
    return np.asarray((3.0 * rank).astype(np.int64)[place])


def trailing_mean(x: Floats, window: int) -> Floats:
    """Mean of the last `window` values up to each one, of fewer at the beginning."""
    total = np.concatenate([[0.0], np.cumsum(x)])
    last = np.arange(1, len(x) + 1)
    first = np.maximum(last - window, 0)
    return np.asarray((total[last] - total[first]) / (last - first))


def lag_correlation(series: Iterable[Floats]) -> float:
    """Correlation of neighbouring values, over all series, each around its own mean.

    NaN where nothing varies.
    """
    product = square = 0.0
    for x in series:
        centred = x - x.mean()
        product += float(centred[1:] @ centred[:-1])
        square += float(centred @ centred)
    return product / square if square > 0.0 else math.nan


class Paired(NamedTuple):
    """Mean of paired differences and its 95 % interval."""

    mean: float
    low: float
    high: float


def paired(loss: Floats, other: Floats, block: int) -> Paired:
    """Mean of `loss - other` [n], with an interval from the means of blocks of `block` rows.

    Losses of neighbouring rows are alike, blocks of a week are not, so their means are taken for
    independent: mean +- 1.96 standard errors. A last block that is not full is left out of the
    standard error.
    """
    difference = loss - other
    blocks = len(difference) // block
    means = difference[: blocks * block].reshape(blocks, block).mean(axis=1)
    mean, error = float(difference.mean()), math.inf
    if blocks > 1:
        error = float(means.std(ddof=1)) / math.sqrt(blocks)
    return Paired(mean, mean - NORMAL_95 * error, mean + NORMAL_95 * error)


def bootstrap_rmse(error: Floats, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """Range that holds 95 % of the RMSE over resampled errors."""
    rng = np.random.default_rng(seed)
    samples = rng.choice(error, (draws, len(error)))
    low, high = np.quantile(np.sqrt(np.square(samples).mean(axis=1)), [0.025, 0.975])
    return float(low), float(high)
