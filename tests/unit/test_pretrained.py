"""The generated series that networks are trained on, and the parts in which recorded sets fall."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.forecast_networks import without_network
from benchmarks.forecast_sets import Ticks
from benchmarks.series import DAYS, KINDS, SCHEMA, generated
from benchmarks.transfer_sets import KNOWN_SHARE, ages, capped, parts
from slotcast_models import scores
from slotcast_models.backtest import prequential
from slotcast_models.bundle import DEFAULT, Bundle
from slotcast_models.predictor import Predictor
from slotcast_models.rules import FoldRules
from slotcast_models.schema import Quantity, TickSchema

REPORT = "training.json"


def ticks_of(slot: list[int]) -> Ticks:
    """Ticks whose value is their own number."""
    n = len(slot)
    return Ticks(SCHEMA, np.array(slot), np.arange(n), np.arange(n, dtype=float)[:, None])


def test_equal_seeds_generate_equal_series_and_others_do_not() -> None:
    first, again, other = generated(1, 2), generated(1, 2), generated(2, 2)

    assert [ticks.schema.seasons for ticks in first] == [
        (),
        *((day, 7 * day) if has_week else (day,) for day, has_week in DAYS.items()),
    ]
    for ours, theirs in zip(first, again, strict=True):
        np.testing.assert_array_equal(ours.value, theirs.value)
        np.testing.assert_array_equal(ours.time_ns, theirs.time_ns)
    assert not np.array_equal(first[0].value[:20], other[0].value[:20])


def test_every_kind_of_series_is_there_finite_and_in_time_order() -> None:
    without_season, *seasonal = generated(3, 2)

    assert without_season.slots == 2 * len(KINDS)
    for ticks in (without_season, *seasonal):
        assert np.isfinite(ticks.value).all()
        assert (np.diff(ticks.time_ns) >= 0).all()


def test_a_season_that_is_declared_is_in_the_series() -> None:
    for ticks in generated(4, 4)[1:]:
        day, value = ticks.schema.seasons[0], ticks.value[ticks.slot == 0, 0]
        value = value - np.linspace(value[0], value[-1], len(value))

        def likeness(lag: int, of: Any = value) -> float:
            return float(np.corrcoef(of[lag:], of[:-lag])[0, 1])

        assert likeness(day) > likeness(day // 2)


def test_no_tick_is_both_learnt_from_and_scored() -> None:
    several = parts("sensors", ticks_of([0, 1, 2] * 50))
    alone = parts("station", ticks_of([0] * 100))
    classic = parts("classics", ticks_of([0] * 100))

    for part in (several, alone):
        assert part.learnt is not None
        assert not np.isin(part.run.value[part.scored], part.learnt.value).any()
    assert alone.learnt is not None
    assert len(alone.learnt.slot) == KNOWN_SHARE * 100
    assert alone.learnt.value.max() < alone.run.value[alone.scored].min()
    assert classic.learnt is None
    assert classic.scored.all()


def test_a_large_set_is_cut_to_whole_beginnings_of_some_instruments() -> None:
    found = capped(ticks_of([0, 1, 2, 3] * 100), most=60, longest=25)

    assert found.slots == 2
    assert np.bincount(found.slot).tolist() == [25, 25]
    assert ages(found.slot).max() == 24
    assert found.value.max() < 100


# Keras 3.15 turns tensors into arrays in a way that numpy 2 calls deprecated.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_pretrained_bundle_fits_every_schema_and_says_how_it_was_made(tmp_path: Path) -> None:
    from benchmarks.pretrained import make

    make(tmp_path, {"a few series": generated(5, 2)[:1]}, seed=5, epochs=1)
    bundle = Bundle.load(tmp_path)
    schema = TickSchema(targets=(Quantity(name="load"), Quantity(name="heat")), seasons=(24,))

    assert Predictor(bundle.bind(schema)).layout.targets == 2
    assert bundle.manifest.network.training.startswith("trained on a few series")
    assert bundle.manifest.network.corrects
    assert json.loads((tmp_path / REPORT).read_text())["ticks"]["seed"] == 5
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 1_000_000


def test_the_default_bundle_is_small_and_its_report_says_how_to_make_it_again() -> None:
    from benchmarks.pretrained import CELLS, EACH, EPOCHS, INPUTS, SEED

    bundle = Bundle.load()
    report = json.loads((DEFAULT / REPORT).read_text())
    series = generated(SEED, EACH)

    network = bundle.manifest.network
    assert sum(file.stat().st_size for file in DEFAULT.iterdir()) < 1_000_000
    assert (network.cells, network.inputs, network.corrects) == (CELLS, INPUTS, True)
    assert bundle.manifest.rules == FoldRules()
    assert REPORT in bundle.manifest.files
    assert report["ticks"]["seed"] == SEED
    assert report["ticks"]["ticks"] == sum(len(ticks.slot) for ticks in series)
    assert report["recipe"]["epochs"] == EPOCHS
    assert network.training in (
        f"trained on {report['ticks']['source']}, {report['ticks']['ticks']:,} ticks, seed {SEED}"
    )


def mean_skill(predictor: Predictor, ticks: Ticks) -> float:
    """Over the series, each against persistence."""
    outcome = prequential(predictor, ticks.columns(), ticks.slots)
    kept = outcome.scored
    error, missed = (outcome.value[kept] - of[kept] for of in (outcome.point, outcome.naive))
    return float(np.nanmean(scores.skills(error, missed, outcome.slot[kept], ticks.slots)))


def test_the_default_bundle_helps_on_series_that_it_never_saw() -> None:
    gains = []
    for ticks in generated(2026, 10):
        bundle = Bundle.load().bind(ticks.schema)
        silent = mean_skill(without_network(bundle), ticks)
        gains.append(mean_skill(Predictor(bundle), ticks) - silent)

    assert np.mean(gains) > 0.01
    assert min(gains) > 0.0
