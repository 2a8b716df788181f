"""A network that learns while it forecasts: from the past only, and in the fold of the service."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from slotcast_models.backtest import Outcome, prequential
from slotcast_models.bundle import Bundle
from slotcast_models.columns import Columns, chosen
from slotcast_models.predictor import Predictor
from slotcast_models.schema import Quantity, TickSchema
from tests.streams import columns

PAIR = TickSchema(targets=(Quantity(name="a"), Quantity(name="b")), kind="sensor")
WARM, TICKS, INSTRUMENTS = 200, 420, 2


def ticks(seed: int = 0) -> Columns:
    """Two instruments by turns; values that fall back half the way."""
    rng = np.random.default_rng(seed)
    value = np.zeros((TICKS, 2))
    for i in range(2, TICKS):
        value[i] = 0.5 * value[i - 2] + rng.normal(size=2)
    return columns(value, slot=np.arange(TICKS) % INSTRUMENTS)


def recipe(**changes: Any) -> Any:
    from slotcast_models.learner import LearningRule
    from slotcast_models.online import OnlineRecipe

    rule = LearningRule(window=16, stride=8, rate=0.01)
    return OnlineRecipe(WARM, **({"epochs": 2, "rule": rule} | changes))


@pytest.fixture(scope="module", params=["instrument", "target"])
def warmed(request: pytest.FixtureRequest) -> Any:
    from slotcast_models.online import blueprint, warm

    rules = Bundle.load().manifest.rules
    bundle = blueprint((("gru", 4), ("lstm", 3)), request.param, 0, rules, PAIR)
    return warm(bundle, ticks(), ["x", "y"], recipe())


def outcome(warmed: Any, mode: str, of: Columns | None = None, **changes: Any) -> Outcome:
    from dataclasses import replace

    from slotcast_models.online import OnlinePredictor

    changed = replace(warmed, recipe=replace(warmed.recipe, **changes))
    predictor = OnlinePredictor(changed, INSTRUMENTS, mode)  # type: ignore[arg-type]
    return prequential(predictor, of or ticks(), INSTRUMENTS)


def same(one: Outcome, other: Outcome, part: slice) -> bool:
    fields = ("point", "network", "readout", "lower")
    return all(
        np.array_equal(getattr(one, f)[part], getattr(other, f)[part], equal_nan=True)
        for f in fields
    )


def test_how_weights_reach_forecasts_shows_after_the_warm_up_only(warmed: Any) -> None:
    frozen, inline = outcome(warmed, "frozen"), outcome(warmed, "inline")
    delayed = outcome(warmed, "delayed", delay_ticks=40)

    assert same(frozen, inline, slice(0, WARM))
    assert same(frozen, delayed, slice(0, WARM + 40))
    assert not same(frozen, inline, slice(WARM + 40, TICKS))
    assert not same(frozen, delayed, slice(WARM + 80, TICKS))
    assert not same(inline, delayed, slice(WARM + 40, TICKS))


def test_it_learns_every_eight_ticks_from_the_last_thirty_two() -> None:
    """Of each instrument: at its 33rd tick, from all before, then at every eighth."""
    from dataclasses import replace

    from slotcast_models.online import OnlinePredictor, OnlineRecipe, blueprint, warm

    bundle = blueprint((("gru", 2),), "instrument", 0, Bundle.load().manifest.rules, PAIR)
    usual = OnlineRecipe(TICKS, epochs=1)
    assert (usual.rule.window, usual.rule.stride) == (32, 8)
    made = warm(bundle, ticks(), ["x", "y"], usual)
    updates: list[tuple[int, Any]] = []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(made.learner, name)

        def learn(self, values: Any, window: Any, rows: Any) -> Any:
            updates.append((predictor._ticks, window.x.copy()))
            return made.learner.learn(values, window, rows)

    watched: Any = replace(made, learner=Counting())
    predictor = OnlinePredictor(watched, INSTRUMENTS, "inline")
    rows, memory = predictor.allocate(INSTRUMENTS)
    seen: list[Any] = []
    for i in range(TICKS):
        tick, out = chosen(ticks(), slice(i, i + 1)), predictor.allocate_published(1)
        predictor.advance(memory, tick, np.zeros(1, np.int8), out)
        seen.append(predictor.stage.x[0].copy())

    first = INSTRUMENTS * 32
    due = [i for i in range(first, TICKS) if (i - first) // INSTRUMENTS % 8 == 0]
    assert [at for at, _ in updates] == due
    for at, x in updates:
        own = np.array(seen[at - first : at : INSTRUMENTS])
        np.testing.assert_array_equal(x[0], own)
    assert len(rows) == INSTRUMENTS


def test_without_delay_delayed_is_inline(warmed: Any) -> None:
    delayed = outcome(warmed, "delayed", delay_ticks=0)

    assert same(delayed, outcome(warmed, "inline"), slice(0, TICKS))


def test_no_forecast_knows_a_later_tick(warmed: Any) -> None:
    cut, whole, other = 300, ticks(), ticks()
    other.value[cut:] += 3.0

    one, changed = (outcome(warmed, "inline", of) for of in (whole, other))

    # What stands at a tick was published at the one before it.
    assert same(one, changed, slice(0, cut + 1))
    assert not same(one, changed, slice(cut + 2, TICKS))


def test_a_frozen_network_forecasts_as_its_bundle_does(warmed: Any) -> None:
    from slotcast_models.export import export_step
    from slotcast_models.learner import Learner

    Learner(warmed.network, 1).assign(warmed.values)
    served = Bundle(warmed.bundle.manifest, export_step(warmed.network))

    exported = prequential(Predictor(served), ticks(), INSTRUMENTS)

    # Before the end of the warm-up the network was still learning, and rows remember that a while.
    frozen = outcome(warmed, "frozen")
    late = slice(TICKS - 20, TICKS)
    np.testing.assert_allclose(frozen.network[late], exported.network[late], rtol=0, atol=5e-2)
    assert np.abs(frozen.network[late] - frozen.naive[late]).mean() > 0.1


def test_instruments_may_tick_in_any_order_and_be_reset(warmed: Any) -> None:
    of = ticks()
    slot = np.random.default_rng(4).integers(0, INSTRUMENTS, TICKS)
    of = of._replace(slot=slot)
    of.kind[[150, 260]] = 1

    found = outcome(warmed, "inline", of)

    assert np.isfinite(found.point[found.scored]).all()
    assert not same(found, outcome(warmed, "frozen", of), slice(WARM, TICKS))


def test_it_learns_while_it_forecasts(warmed: Any) -> None:
    from slotcast_models.online import train_and_run

    untaught = recipe(epochs=1)
    long = chosen(ticks(), np.arange(TICKS))
    found = train_and_run(untaught, warmed.bundle, long, ["x", "y"], "inline")

    late = slice(WARM, TICKS)
    miss = (found.value - found.network)[late][found.scored[late]]
    naive = (found.value - found.naive)[late][found.scored[late]]
    assert (miss**2).mean() < 0.9 * (naive**2).mean()
