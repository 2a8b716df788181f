"""The fold's constants, as the manifest states them and as the compiled loops read them.

Changing any of them changes forecasts, so they are part of the bundle's fingerprint. Sources of the
defaults are named where they are used (scaling, readout, intervals, predictor).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator


class FoldRules(BaseModel):
    """Scale, readout, second stage, gate and intervals of one bundle."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scale_rate: float = Field(0.002, gt=0, le=1, description="Weight of a change in the scale.")
    level_rate: float = Field(0.01, gt=0, le=1, description="Weight of a value in the level.")
    error_rate: float = Field(0.02, gt=0, le=1, description="Weight of an error in its scale.")
    break_scales: float = Field(30.0, gt=0, description="A larger change is a level break.")
    gap_medians: float = Field(
        20.0, gt=0, description="A gap is longer than this many median steps."
    )
    forgetting: float = Field(0.9997, gt=0, le=1, description="Readout forgetting per tick.")
    forgetting_share: float = Field(
        0.5, gt=0, description="The readout looks back over at most this share of the ticks."
    )
    ridge: float = Field(10.0, gt=0, description="Readout prior precision.")
    sibling_ridge: float = Field(
        20.0, gt=0, description="Factor on the ridge of siblings, which have to earn their weight."
    )
    warmup_ticks: int = Field(20, ge=0, description="Ticks before the readout learns.")
    stage_forgetting: float = Field(0.999, gt=0, le=1, description="Second-stage forgetting.")
    stage_prior: float | None = Field(
        None, ge=0, le=1.2, description="Second-stage coefficient at start; else by kind."
    )
    stage_ridge: float | None = Field(
        None, gt=0, description="Second-stage prior precision; else by kind."
    )
    trust: float = Field(
        0.5,
        ge=0,
        le=1.2,
        description="Share of a network's correction at start, times the second stage's prior.",
    )
    first_changes: int = Field(
        2, ge=1, description="Changes other than 0 before the model learns or is published."
    )
    smoothing_rates: tuple[float, ...] = Field(
        (0.05, 0.1, 0.2, 0.35, 0.55, 0.8), description="Weights of a value in the smoothers."
    )
    smoothing_forgetting: float = Field(
        0.95, gt=0, le=1, description="Forgetting of the smoothers' errors per tick."
    )
    smoothing_sharpness: float = Field(
        0.5, gt=0, description="How sharply smaller errors favour a smoother."
    )
    gate_rate: float = Field(0.0002, gt=0, le=1, description="Weight of a gain in the gate.")
    gate_t: float | None = Field(
        None, description="Publish the model above this t value of its gain; else by kind."
    )
    interval_rate: float = Field(0.02, gt=0, description="Step of the quantile trackers.")
    error_degrees: int = Field(
        6, ge=3, description="Degrees of freedom of Student's t that the trackers start from."
    )
    levels: tuple[float, ...] = Field((0.5, 0.8, 0.9, 0.95, 0.99), description="Interval levels.")
    profile_rate: float = Field(
        0.03, ge=0, le=1, description="Weight of an error in the interval width of its phase."
    )
    lags: int = Field(4, ge=1, description="Own recent changes the readout sees.")
    siblings: int = Field(12, ge=0, description="Most sibling quantities the readout sees.")
    season_repeats: int = Field(
        2, ge=1, description="Shortest seasons in the mean where no longer one is declared."
    )
    season_reach: int = Field(
        1, ge=0, description="Changes seen on either side of the one a season ago."
    )
    harmonics: int = Field(
        4, ge=0, description="Sine and cosine pairs over the shortest season in the readout."
    )
    input_history: int = Field(32, ge=1, description="Network inputs kept for a bundle switch.")

    @field_validator("levels")
    @classmethod
    def _levels_rise(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        rising = all(a < b for a, b in pairwise((0.0, *levels, 1.0)))
        if not levels or not rising:
            raise ValueError(f"levels {list(levels)}: need one or more, rising, between 0 and 1")
        return levels

    @field_validator("smoothing_rates")
    @classmethod
    def _rates_are_shares(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0.0 < rate < 1.0 for rate in rates):
            raise ValueError(f"smoothing_rates {list(rates)}: need each between 0 and 1")
        return rates

    def as_array(self, max_gap_ns: float, kind: str | None = None) -> NDArray[np.float64]:
        """The constants in the order of the indices below, for the compiled loops.

        `kind` is the schema's, and stands in for those of its guard that are None here.
        """
        guard = GUARDS[kind]._asdict()
        found = {name: getattr(self, name) for name in _ORDER}
        chosen = [guard[name] if value is None else value for name, value in found.items()]
        return np.array([*map(float, chosen), max_gap_ns])


class Guard(NamedTuple):
    """How freely the model replaces persistence: the second stage's start, and the gate."""

    stage_prior: float
    stage_ridge: float
    gate_t: float


GUARDS = {
    "sensor": Guard(stage_prior=1.0, stage_ridge=10.0, gate_t=-math.inf),
    "price": Guard(stage_prior=0.0, stage_ridge=30.0, gate_t=3.5),
    None: Guard(stage_prior=0.5, stage_ridge=20.0, gate_t=2.0),
}
"""By the schema's kind. A price has to prove that it is no random walk; a sensor is taken to be
predictable, and only the second stage holds its model back. In between stands what is not said."""


_ORDER = (
    "scale_rate", "level_rate", "error_rate", "break_scales", "gap_medians", "forgetting", "ridge",
    "warmup_ticks", "stage_forgetting", "stage_prior", "stage_ridge", "gate_rate", "gate_t",
    "interval_rate", "profile_rate", "forgetting_share",
    "sibling_ridge", "first_changes", "smoothing_forgetting", "smoothing_sharpness",
    "trust",
)  # fmt: skip

SCALE_RATE, LEVEL_RATE, ERROR_RATE, BREAK_SCALES, GAP_MEDIANS, FORGETTING, RIDGE = range(7)
WARMUP_TICKS, STAGE_FORGETTING, STAGE_PRIOR, STAGE_RIDGE = range(7, 11)
GATE_RATE, GATE_T, INTERVAL_RATE, PROFILE_RATE, FORGETTING_SHARE, SIBLING_RIDGE = range(11, 17)
FIRST_CHANGES, SMOOTHING_FORGETTING, SMOOTHING_SHARPNESS = range(17, 20)
TRUST_START, MAX_GAP_NS = range(20, 22)
