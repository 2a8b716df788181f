"""Quantiles of Student's t: how far errors go whose usual size was itself taken from few errors.

Whole degrees of freedom, in closed form (Abramowitz and Stegun, 26.7.3 and 26.7.4). Made when a
predictor is, not at ticks.
"""

from __future__ import annotations

import math
from functools import cache

STEPS = 60
PRECISION = 1e-13


@cache  # 500 of them, 14 ms, for every predictor of a process
def t_quantile(p: float, degrees: int) -> float:
    """The value that a share `p` >= 0.5 of Student's t with so many degrees of freedom is below.

    Newton's steps from 0 never pass it, since the distribution is concave from there on.
    """
    height = math.lgamma((degrees + 1) / 2.0) - math.lgamma(degrees / 2.0)
    height -= 0.5 * math.log(degrees * math.pi)
    t = 0.0
    for _ in range(STEPS):
        density = math.exp(height - (degrees + 1) / 2.0 * math.log1p(t * t / degrees))
        step = (p - share_below(t, degrees)) / density
        if step <= PRECISION * t:
            break
        t += step
    return t


def share_below(t: float, degrees: int) -> float:
    """The share of Student's t below `t`."""
    angle = math.atan2(t, math.sqrt(degrees))
    squared, term, total = math.cos(angle) ** 2, 1.0, 0.0
    odd = degrees % 2
    if odd:
        term = math.cos(angle)
    for k in range(odd, degrees - 1, 2):
        total += term
        term *= squared * (k + 1) / (k + 2)
    total *= math.sin(angle)
    return 0.5 + (angle + total) / math.pi if odd else 0.5 + 0.5 * total
