"""A backtest: recorded ticks through the live predictor, and all that is compared with it.

Every tick is forecast, scored, then learnt from, by the code that serves. The first `skip` ticks
are not scored. What a contestant has to be told beforehand (the rate of the EWMA, frozen weights,
a network's warm-up) comes from those. scores.py makes the numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from slotcast.backtest.intervals import Floats, IntervalSums, interval_level
from slotcast.feeds.columns import Recorded
from slotcast.terminal.progress import Advanced, silently
from slotcast_models import baselines
from slotcast_models.backtest import Outcome, joined, polls
from slotcast_models.bundle import Bundle
from slotcast_models.columns import FROZEN, TICK
from slotcast_models.predictor import Predictor

if TYPE_CHECKING:
    from slotcast_models.online import OnlinePredictor

Mode = Literal["frozen", "inline", "delayed"]

OWN = "slotcast"
POLL_TICKS = 8_192
SKIPPED_SHARE = 0.2
FEWEST_KNOWN = 20
"""A baseline's constant is chosen on at least so many ticks of an instrument, scored or not."""


@dataclass(frozen=True)
class Forecast:
    """By tick; NaN where there is none. Only ours have an interval: that of `interval_level`."""

    point: Floats  # [n, T]
    lower: Floats | None = None  # [n, T]
    upper: Floats | None = None
    sums: IntervalSums | None = None  # of all levels, over the scored ticks

    def bounds(self) -> tuple[Floats, Floats]:
        """Lower and upper. Asserts that there are some."""
        assert self.lower is not None, "a point forecast has no interval"
        assert self.upper is not None, "a point forecast has no interval"
        return self.lower, self.upper


@dataclass(frozen=True)
class Backtest:
    """What came, and what each contestant had said of it."""

    bundle: Bundle
    recorded: Recorded
    skip: int
    outcome: Outcome  # with the bounds of `interval_level` alone
    scored: NDArray[np.bool_]  # [n] of the outcome's, those after `skip`
    forecasts: dict[str, Forecast]
    absent: dict[str, str] = field(default_factory=dict)  # contestant -> why it is not here

    @property
    def levels(self) -> tuple[float, ...]:
        """Levels of the intervals."""
        return self.bundle.manifest.rules.levels


def skipped(recorded: Recorded, skip: int | None) -> int:
    """Ticks that are not scored: a fifth, unless told. Raises ValueError where none could be."""
    n = len(recorded.columns.slot)
    if not recorded.ticks:
        reasons = ", ".join(f"{k:,} {reason}" for reason, k in sorted(recorded.rejects.items()))
        raise ValueError(f"there are no valid ticks; left out: {reasons or 'none'}")
    chosen = int(SKIPPED_SHARE * n) if skip is None else skip
    if not 0 <= chosen < n:
        raise ValueError(f"--skip {chosen}: there are {n:,} ticks, and some have to be scored")
    return chosen


def backtest(
    bundle: Bundle,
    recorded: Recorded,
    skip: int,
    learn: Mode | None = None,
    advanced: Advanced = silently,
) -> Backtest:
    """Run everything that applies. `bundle` is bound. Raises ValueError if nothing is scored."""
    predictor, slots = Predictor(bundle), len(recorded.names)
    after = np.arange(len(recorded.columns.slot)) >= skip
    outcome, sums = _run(predictor, recorded, after, "forecasting", advanced)
    scored = outcome.scored & after
    if not scored.any():
        raise ValueError(
            f"none of the ticks after the first {skip:,} follows a forecast: give a lower --skip, "
            "or look at max_gap_ms and at what was left out"
        )
    forecasts = {
        OWN: _with_interval(outcome, sums),
        "readout alone": Forecast(outcome.readout),
    }
    absent: dict[str, str] = {}
    if predictor.bundle.manifest.network.corrects:
        absent["network alone"] = "the bundle's network corrects the readout: alone it says nothing"
    elif np.allclose(outcome.network[scored], outcome.naive[scored], rtol=1e-9, atol=0.0):
        absent["network alone"] = "the bundle's network is untrained: it says persistence"
    else:
        forecasts["network alone"] = Forecast(outcome.network)
    if skip:
        ran = _run(predictor, _frozen(recorded, skip), after, "forecasting, frozen", advanced)
        forecasts["frozen"] = _with_interval(*ran)
    else:
        absent["frozen"] = "with --skip 0 there is nothing to freeze after"
    if learn is None:
        absent["learning network"] = "not asked for: --learn inline"
    else:
        learner = _learner(bundle, recorded, skip, learn)
        learnt, sums = _run(learner, recorded, after, "learning", advanced)
        forecasts[f"network {learn}"] = _with_interval(learnt, sums)
        forecasts[f"network {learn}, alone"] = Forecast(learnt.network)
    _add_baselines(bundle, outcome, skip, slots, forecasts, absent)
    return Backtest(bundle, recorded, skip, outcome, scored, forecasts, absent)


def _run(
    predictor: Predictor | OnlinePredictor,
    recorded: Recorded,
    kept: NDArray[np.bool_],
    doing: str,
    advanced: Advanced,
) -> tuple[Outcome, IntervalSums]:
    """The outcome with the bounds of one level, and sums of all levels over scored ticks `kept`."""
    columns, levels = recorded.columns, predictor.bundle.manifest.rules.levels
    sums = IntervalSums(predictor.bundle.schema, levels)
    place = levels.index(interval_level(levels))

    def narrowed() -> Iterator[Outcome]:
        seen, slots = 0, len(recorded.names)
        for part in polls(predictor, columns, slots, POLL_TICKS, recorded.names):
            sums.add(part, part.scored & kept[seen : seen + len(part.slot)])
            seen += len(part.slot)
            advanced(doing, seen, len(columns.slot))
            yield part.at_level(place)

    return joined(narrowed(), columns), sums


def _with_interval(outcome: Outcome, sums: IntervalSums) -> Forecast:
    return Forecast(outcome.point, outcome.lower[..., 0], outcome.upper[..., 0], sums)


def _frozen(recorded: Recorded, skip: int) -> Recorded:
    """The same ticks, of which those after the first `skip` teach nothing."""
    kind = recorded.columns.kind.copy()
    kind[skip:][kind[skip:] == TICK] = FROZEN
    columns = recorded.columns._replace(kind=kind)
    return Recorded(recorded.names, columns, recorded.rejects)


def _learner(bundle: Bundle, recorded: Recorded, skip: int, mode: Mode) -> OnlinePredictor:
    """A network with the cells of the bundle's, trained on the first `skip` ticks. TensorFlow."""
    from slotcast_models.learner import one_thread
    from slotcast_models.online import OnlinePredictor, OnlineRecipe, blueprint, warm

    if skip == 0:
        raise ValueError("--learn trains on the ticks that are skipped: give a --skip above 0")
    one_thread()
    manifest = bundle.manifest
    network = manifest.network
    plain = blueprint(network.cells, network.rows, network.phases, manifest.rules, bundle.schema)
    warmed = warm(plain, recorded.columns, recorded.names, OnlineRecipe(warm_ticks=skip))
    return OnlinePredictor(warmed, len(recorded.names), mode)


def _add_baselines(
    bundle: Bundle,
    outcome: Outcome,
    skip: int,
    slots: int,
    forecasts: dict[str, Forecast],
    absent: dict[str, str],
) -> None:
    """What stands beside ours, from valid ticks alone."""
    rows = np.flatnonzero(outcome.valid)
    slot, value = outcome.slot[rows], np.ascontiguousarray(outcome.value[rows])
    known = np.bincount(outcome.slot[rows[rows < skip]], minlength=slots)
    found = {
        "drift": baselines.by_instrument(baselines.drift, slot, value),
        "EWMA": _ewma(slot, value, known),
        "AR(1)": baselines.by_instrument(baselines.ar1, slot, value),
    }
    if bundle.schema.seasons:
        seasonal = partial(baselines.seasonal_naive, season=bundle.schema.seasons[0])
        found["seasonal naive"] = baselines.by_instrument(seasonal, slot, value)
    else:
        absent["seasonal naive"] = "[schema] declares no seasons"
    forecasts["persistence"] = Forecast(outcome.naive)
    for name, point in found.items():
        whole = np.full(outcome.value.shape, np.nan)
        whole[rows] = point
        forecasts[name] = Forecast(whole)


def _ewma(slot: NDArray[np.int64], value: Floats, known: NDArray[np.int64]) -> Floats:
    """Each instrument's best rate on its ticks before the scored ones."""
    found = np.empty_like(value)
    for rows in baselines.rows_by_instrument(slot):
        enough = max(int(known[slot[rows[0]]]), FEWEST_KNOWN)
        for j in range(value.shape[1]):
            found[rows, j] = baselines.best_ewma(np.ascontiguousarray(value[rows, j]), enough)
    return found
