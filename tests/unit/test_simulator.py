"""The market is reproducible, can be stopped and resumed anywhere, and holds what it claims to."""

from __future__ import annotations

import doctest
import json
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from slotcast.feeds import simulator
from slotcast.feeds.simulator import CaptureError, Market, MarketTicks, encode

Floats = NDArray[np.float64]


def same(left: MarketTicks, right: MarketTicks) -> bool:
    return all(np.array_equal(getattr(left, f.name), getattr(right, f.name)) for f in fields(left))


@pytest.fixture(scope="module")
def long_run() -> MarketTicks:
    return Market(instruments=40).next(400_000)


def log_prices(ticks: MarketTicks) -> list[Floats]:
    order = np.argsort(ticks.instrument, kind="stable")
    cuts = np.cumsum(np.bincount(ticks.instrument))[:-1]
    return np.split(np.log(ticks.price[order]), cuts)


def test_the_same_seed_gives_the_same_ticks_and_another_seed_others() -> None:
    assert same(Market(seed=3).next(30_000), Market(seed=3).next(30_000))
    assert Market(seed=3).names == Market(seed=3).names
    assert not same(Market(seed=3).next(100), Market(seed=4).next(100))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2500), max_size=8))
def test_any_split_of_calls_gives_the_same_ticks(takes: list[int]) -> None:
    whole = Market(instruments=12).next(sum(takes))

    market = Market(instruments=12)
    parts = [market.next(n) for n in takes]

    assert [len(part) for part in parts] == takes
    assert same(MarketTicks.join([market.next(0), *parts]), whole)


@settings(max_examples=25, deadline=None)
@given(before=st.integers(0, 6000), after=st.integers(1, 6000), instruments=st.integers(1, 30))
def test_a_resumed_market_goes_on_exactly(before: int, after: int, instruments: int) -> None:
    market = Market(instruments, seed=11, step_ms=250)
    market.next(before)

    resumed = Market.resume(market.capture())

    assert resumed.names == market.names
    assert same(resumed.next(after), market.next(after))
    assert resumed.capture() == market.capture()


def test_a_capture_of_another_version_is_refused_with_the_way_out() -> None:
    record = json.loads(Market(instruments=3).capture()) | {"version": 9}

    with pytest.raises(CaptureError, match="version 9, this build reads 1: start anew"):
        Market.resume(json.dumps(record).encode())


@pytest.mark.parametrize(
    "change",
    [{"taken": -1}, {"taken": 10**9}, {"taken": "x"}, {"position": {}}, {"instruments": 4}],
)
def test_a_damaged_capture_is_refused(change: dict[str, object]) -> None:
    record = json.loads(Market(instruments=3).capture()) | change

    with pytest.raises(CaptureError, match="damaged"):
        Market.resume(json.dumps(record).encode())


@pytest.mark.parametrize("captured", [b"", b"\xff", b"[]", b"{}", b"7"])
def test_what_is_no_capture_is_refused(captured: bytes) -> None:
    with pytest.raises(CaptureError, match="damaged"):
        Market.resume(captured)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="0 instruments"):
        Market(instruments=0)
    with pytest.raises(ValueError, match="step_ms is 0"):
        Market(step_ms=0)
    with pytest.raises(ValueError, match="cannot take -1 ticks"):
        Market(instruments=1).next(-1)


def test_names_are_unique_tickers_and_fewer_are_a_prefix_of_more() -> None:
    names = Market(instruments=400).names

    assert len(set(names)) == 400
    assert all(3 <= len(name) <= 5 and name.isalpha() and name.isupper() for name in names)
    assert Market(instruments=5).names == names[:5]


def test_ticks_arrive_in_time_order_and_an_instrument_ticks_at_most_once_a_step() -> None:
    ticks = Market(step_ms=500).next(50_000)

    steps, offsets = np.divmod(ticks.ts_ms - simulator.START_MS, 500)
    assert not offsets.any()
    assert (np.diff(ticks.ts_ms) >= 0).all()
    assert len(np.unique(steps * 400 + ticks.instrument)) == len(ticks)


def test_arrival_is_asynchronous_and_some_instruments_are_far_more_popular() -> None:
    ticks = Market().next(100_000)

    counts = np.bincount(ticks.instrument, minlength=400)
    assert counts.min() > 0
    assert counts.max() > 10 * np.median(counts)


def test_prices_are_positive_and_stay_near_their_base(long_run: MarketTicks) -> None:
    assert (long_run.price > 0).all()
    assert all(np.ptp(prices) < np.log(3.0) for prices in log_prices(long_run))
    assert (long_run.volume >= 1).all()


def test_the_next_change_is_partly_predictable_for_most_instruments(long_run: MarketTicks) -> None:
    skills = np.array([held_out_skill(np.diff(prices)) for prices in log_prices(long_run)])

    assert 0.05 < np.median(skills) < 0.20
    assert (skills > 0.03).mean() > 0.8
    assert skills.max() < 0.30


def held_out_skill(changes: Floats, lags: int = 4) -> float:
    """1 - RMSE / RMSE of persistence, of an autoregression fitted to the first half."""
    rows = np.lib.stride_tricks.sliding_window_view(changes, lags + 1)
    half = len(rows) // 2
    weights = np.linalg.lstsq(rows[:half, :-1], rows[:half, -1])[0]
    errors = rows[half:, -1] - rows[half:, :-1] @ weights
    return float(1 - np.sqrt((errors**2).mean() / (rows[half:, -1] ** 2).mean()))


def test_changes_have_heavy_tails_and_clustered_volatility(long_run: MarketTicks) -> None:
    for prices in log_prices(long_run):
        changes = np.diff(prices)
        size = np.abs(changes) - np.abs(changes).mean()
        assert (changes**4).mean() > 4 * (changes**2).mean() ** 2
        assert (size[20:] * size[:-20]).mean() > 0.03 * (size**2).mean()


def test_level_and_volatility_have_a_season_of_own_ticks(long_run: MarketTicks) -> None:
    prices = max(log_prices(long_run), key=len)
    cycles = len(prices) // simulator.SEASON_TICKS
    grid = prices[: cycles * simulator.SEASON_TICKS].reshape(cycles, -1)
    grid = grid - grid.mean(axis=1, keepdims=True)

    first, second = grid[: cycles // 2].mean(axis=0), grid[cycles // 2 :].mean(axis=0)
    assert np.corrcoef(first, second)[0, 1] > 0.5
    size = np.abs(np.diff(grid, axis=1))
    first, second = size[: cycles // 2].mean(axis=0), size[cycles // 2 :].mean(axis=0)
    assert np.corrcoef(first, second)[0, 1] > 0.5


def test_instruments_share_a_market_factor(long_run: MarketTicks) -> None:
    step = (long_run.ts_ms - simulator.START_MS) // 1000
    popular = np.argsort(-np.bincount(long_run.instrument))[:10]
    every = np.arange(60, step[-1], 60)
    paths = []
    for i in popular:
        mine = long_run.instrument == i
        last = np.searchsorted(step[mine], every, side="right") - 1
        paths.append(np.diff(np.log(long_run.price[mine])[last]))

    correlations = np.corrcoef(paths)[np.triu_indices(10, 1)]
    assert correlations.mean() > 0.05
    assert (correlations > 0).mean() > 0.8


def test_records_are_json_ticks_keyed_by_instrument() -> None:
    market = Market(instruments=5)
    ticks = market.next(1000)

    keys, values = encode(ticks, market.names)

    rows = [json.loads(value) for value in values]
    assert list(rows[0]) == ["instrument", "ts", "price", "volume"]
    assert [row["instrument"].encode() for row in rows] == keys
    assert [market.names.index(row["instrument"]) for row in rows] == ticks.instrument.tolist()
    assert [row["ts"] for row in rows] == ticks.ts_ms.tolist()
    assert [row["volume"] for row in rows] == ticks.volume.tolist()
    assert [row["price"] for row in rows] == [round(p, 4) for p in ticks.price.tolist()]


def test_names_are_escaped_in_records() -> None:
    ticks = Market(instruments=1).next(1)

    keys, values = encode(ticks, ['a"é'])

    assert keys == ['a"é'.encode()]
    assert json.loads(values[0])["instrument"] == 'a"é'


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(simulator).failed == 0
