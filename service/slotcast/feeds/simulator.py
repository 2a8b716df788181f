"""A made-up market: many instruments, asynchronous ticks, something to learn and much noise.

The logarithm of a price is a sum of: a market factor (in market time); the instrument's own
slow walk with rare, heavy-tailed jumps; a season of `SEASON_TICKS` own ticks, in level and in
volatility; and a bounce between bid and ask that lasts one tick, which is what makes the next
change partly predictable. Market and instrument each switch between a calm and a turbulent regime.

Promises: ticks depend on the seed, the number of instruments and the step alone, not on how calls
cut them; `resume(capture())` goes on exactly there. Prices stay positive and near their base, since
both walks are pulled home. Does not read a clock, a file or the network. Equal bits need the same
numpy version and CPU family.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
T = TypeVar("T", bound=np.generic)

CAPTURE_VERSION = 1
START_MS = 1_700_000_000_000
SEASON_TICKS = 240
MAX_INSTRUMENTS = 100_000

BLOCK_STEPS = 256
BLOCK_CELLS = 1 << 17
CONSONANTS = tuple("BCDFLMNRSTVXYZ")
VOWELS = tuple("AEIOU")
SHAPES = ("cvc", "cvcv", "cvcv", "cvccv", "cvcvc", "vcvcv")

PULL_HOME = 2e-5  # share of the distance that a walk gives back per tick or step
REDRAW, MARKET_REDRAW = 0.01, 0.002  # chance per own tick, or step, that a regime is drawn anew
TURBULENT = 0.2  # share of the draws that are turbulent
CALM_VOLATILITY, TURBULENT_VOLATILITY = 0.8, 2.0
FACTOR_STEP = 2e-4  # deviation of the market factor's steps
JUMP_CHANCE, JUMP_SCALE, JUMP_LIMIT = 0.002, 6.0, 0.2


class CaptureError(ValueError):
    """A captured position that this build cannot resume."""


@dataclass(frozen=True, slots=True)
class MarketTicks:
    """Ticks in arrival order, as columns of one length."""

    instrument: NDArray[np.int32]
    ts_ms: Integers
    price: Floats
    volume: Integers

    def __len__(self) -> int:
        return len(self.instrument)

    def cut(self, begin: int, end: int) -> MarketTicks:
        """The ticks `begin` to `end`, without copying."""
        return MarketTicks(*(getattr(self, f.name)[begin:end] for f in fields(self)))

    @classmethod
    def join(cls, parts: list[MarketTicks]) -> MarketTicks:
        """All parts, one after the other."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))


@dataclass(frozen=True, slots=True)
class _Traits:
    """What an instrument is for ever; drawn once from the seed."""

    rate: Floats  # chance to tick in a market step
    base: Floats  # logarithm of the price that its walk is pulled to
    walk: Floats  # deviation of the walk's steps
    bounce: Floats  # deviation of the bounce
    beta: Floats  # exposure to the market factor
    season: Floats  # amplitude of the season
    phase: Floats  # of the season, radians
    size: Floats  # logarithm of the median volume

    def of(self, instrument: Integers) -> _Traits:
        """The traits of each of these instruments, one row per entry."""
        return _Traits(*(getattr(self, f.name)[instrument] for f in fields(self)))

    @classmethod
    def draw(cls, rng: np.random.Generator, n: int) -> _Traits:
        rate = 0.9 / np.sqrt(1.0 + rng.permutation(n))
        # What ticks rarely moves more per tick.
        walk = rng.uniform(2e-4, 6e-4, n) / np.sqrt(np.sqrt(rate))
        return cls(
            rate=rate,
            base=rng.uniform(np.log(8.0), np.log(400.0), n),
            walk=walk,
            bounce=walk * rng.uniform(1.4, 3.6, n),
            beta=rng.uniform(0.4, 1.6, n),
            season=walk * rng.uniform(10.0, 35.0, n),
            phase=rng.uniform(0.0, 2 * np.pi, n),
            size=rng.uniform(np.log(50.0), np.log(2000.0), n),
        )


@dataclass(frozen=True, slots=True)
class _Position:
    """Where the market stands between two blocks: all that the next block depends on."""

    generator: dict[str, Any]
    step: int
    factor: float
    market_turbulent: bool
    walk: Floats
    turbulent: Flags
    own_ticks: Integers

    @classmethod
    def opening(cls, rng: np.random.Generator, n: int) -> _Position:
        zeros = np.zeros(n)
        return cls(
            dict(rng.bit_generator.state), 0, 0.0, False, zeros, zeros > 0, zeros.astype(np.int64)
        )


class Market:
    """A stream of ticks without end. `next` takes the following ones.

    >>> Market(instruments=2, step_ms=500).next(3).ts_ms.tolist()
    [1700000000000, 1700000000000, 1700000000500]
    """

    _before: _Position
    _block: MarketTicks  # what lies between the positions before and after
    _taken: int  # of the block
    _after: _Position

    def __init__(self, instruments: int = 400, seed: int = 7, step_ms: int = 1000) -> None:
        if not 1 <= instruments <= MAX_INSTRUMENTS:
            raise ValueError(f"{instruments} instruments: give 1 to {MAX_INSTRUMENTS}")
        if step_ms < 1:
            raise ValueError(f"step_ms is {step_ms}: give 1 or more")
        self._recipe = {"instruments": instruments, "seed": seed, "step_ms": step_ms}
        for_names, for_traits, for_ticks = (
            np.random.Generator(np.random.PCG64(s)) for s in np.random.SeedSequence(seed).spawn(3)
        )
        self.names = _names(for_names, instruments)
        self._traits = _Traits.draw(for_traits, instruments)
        self._open(_Position.opening(for_ticks, instruments))

    def next(self, ticks: int) -> MarketTicks:
        """The next `ticks` ticks, exactly."""
        if ticks < 0:
            raise ValueError(f"cannot take {ticks} ticks: give 0 or more")
        parts = []
        while (left := len(self._block) - self._taken) < ticks:
            parts.append(self._block.cut(self._taken, len(self._block)))
            ticks -= left
            self._open(self._after)
        parts.append(self._block.cut(self._taken, self._taken + ticks))
        self._taken += ticks
        return MarketTicks.join(parts)

    def capture(self) -> bytes:
        """The position after the last tick taken, as JSON text."""
        position = {
            k: v.tolist() if isinstance(v, np.ndarray) else v
            for k, v in asdict(self._before).items()
        }
        head = {"version": CAPTURE_VERSION, **self._recipe, "taken": self._taken}
        return json.dumps({**head, "position": position}).encode()

    @classmethod
    def resume(cls, captured: bytes) -> Self:
        """The market that continues where `capture` was called. Raises CaptureError."""
        record = _read_capture(captured)
        try:
            market = cls(record["instruments"], record["seed"], record["step_ms"])
            market._open(_position(record["position"], len(market.names)))
            market._skip(record["taken"])
        except (KeyError, TypeError, ValueError) as error:
            raise CaptureError(f"captured market is damaged ({error!r}): start anew") from error
        return market

    def _skip(self, taken: int) -> None:
        if not 0 <= taken <= len(self._block):
            raise ValueError(f"{taken} ticks taken of a block of {len(self._block)}")
        self._taken = taken

    def _open(self, position: _Position) -> None:
        self._before = position
        self._taken = 0
        self._block, self._after = _block(self._traits, position, self._recipe["step_ms"])


def encode(ticks: MarketTicks, names: list[str]) -> tuple[list[bytes], list[bytes]]:
    """Keys and JSON records in arrival order; prices have 4 decimals."""
    used = np.unique(ticks.instrument).tolist()
    keys = {i: names[i].encode() for i in used}
    heads = {i: f'{{"instrument":{json.dumps(names[i])},"ts":' for i in used}
    columns = (ticks.instrument, ticks.ts_ms, np.round(ticks.price, 4), ticks.volume)
    rows = zip(*(c.tolist() for c in columns), strict=True)
    values = [
        f'{heads[i]}{ts},"price":{price},"volume":{volume}}}'.encode()
        for i, ts, price, volume in rows
    ]
    return [keys[i] for i in ticks.instrument.tolist()], values


def _block(traits: _Traits, before: _Position, step_ms: int) -> tuple[MarketTicks, _Position]:
    """The ticks of the next market steps, and the position after them.

    Works instrument by instrument (in runs); only the ticks returned are in arrival order.
    """
    rng = _generator(before.generator)
    instruments = len(traits.rate)
    steps = max(1, min(BLOCK_STEPS, BLOCK_CELLS // instruments))
    factor, market_turbulent = _market(rng, before, steps)
    runs = _Runs.of(rng.random((instruments, steps)) < traits.rate[:, None])
    turbulent, walk, price, volume = _own(rng, traits, before, runs, factor, market_turbulent)
    arrival = np.argsort(runs.step, kind="stable")
    ticks = MarketTicks(
        runs.instrument[arrival].astype(np.int32),
        START_MS + (before.step + runs.step[arrival]) * step_ms,
        price[arrival],
        volume[arrival],
    )
    after = _Position(
        generator=dict(rng.bit_generator.state),
        step=before.step + steps,
        factor=float(factor[-1]),
        market_turbulent=bool(market_turbulent[-1]),
        walk=runs.ends(walk, before.walk),
        turbulent=runs.ends(turbulent, before.turbulent),
        own_ticks=before.own_ticks + runs.lengths,
    )
    return ticks, after


def _market(rng: np.random.Generator, before: _Position, steps: int) -> tuple[Floats, Flags]:
    """Factor and regime of the whole market, per step."""
    only = _Runs.of(np.ones((1, steps), dtype=np.bool_))
    turbulent = only.regime(rng, MARKET_REDRAW, np.array([before.market_turbulent]))
    moves = FACTOR_STEP * _volatility(turbulent) * rng.standard_normal(steps)
    return before.factor + np.cumsum(moves - PULL_HOME * before.factor), turbulent


def _own(
    rng: np.random.Generator,
    traits: _Traits,
    before: _Position,
    runs: _Runs,
    factor: Floats,
    market_turbulent: Flags,
) -> tuple[Flags, Floats, Floats, Integers]:
    """Regime, walk, price and volume of every tick, in runs."""
    n, who = len(runs.instrument), runs.instrument
    own = traits.of(who)
    turbulent = runs.regime(rng, REDRAW, before.turbulent)
    angle = 2 * np.pi * ((before.own_ticks[who] + runs.place) % SEASON_TICKS) / SEASON_TICKS
    angle += own.phase
    volatility = _volatility(turbulent) * _volatility(market_turbulent[runs.step])
    volatility *= 1.0 + 0.4 * np.cos(angle)
    jump = JUMP_SCALE * rng.standard_t(3, n) * (rng.random(n) < JUMP_CHANCE)
    moves = own.walk * (volatility * rng.standard_normal(n) + jump)
    moves = np.clip(moves, -JUMP_LIMIT, JUMP_LIMIT) - PULL_HOME * before.walk[who]
    walk = before.walk[who] + runs.sums(moves)
    bounce = own.bounce * volatility * rng.standard_normal(n)
    season = own.season * (np.sin(angle) + 0.5 * np.sin(2 * angle))
    price = np.exp(own.base + own.beta * factor[runs.step] + walk + season + bounce)
    volume = np.exp(own.size + 0.8 * rng.standard_normal(n)) * volatility
    return turbulent, walk, price, 1 + volume.astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Runs:
    """Ticks ordered by instrument, then time: one run per instrument, perhaps empty."""

    instrument: Integers
    step: Integers
    place: Integers  # within the run
    starts: Integers  # per instrument
    lengths: Integers  # per instrument

    @classmethod
    def of(cls, ticked: Flags) -> _Runs:
        """The runs of `ticked[instrument, step]`."""
        instrument, step = np.nonzero(ticked)
        lengths = ticked.sum(axis=1, dtype=np.int64)
        starts = np.cumsum(lengths) - lengths
        place = np.arange(len(instrument)) - starts[instrument]
        return cls(instrument, step, place, starts, lengths)

    def sums(self, values: Floats) -> Floats:
        """Running sum of `values` within each run."""
        total = np.concatenate([[0.0], np.cumsum(values)])
        return np.asarray(total[1:] - total[self.starts][self.instrument])

    def regime(self, rng: np.random.Generator, redraw: float, before: Flags) -> Flags:
        """A Markov chain per run: now and then drawn anew, else as it was."""
        n = len(self.instrument)
        drawn, turbulent = rng.random(n) < redraw, rng.random(n) < TURBULENT
        last = np.maximum.accumulate(np.where(drawn, np.arange(n), -1))
        in_run = last >= self.starts[self.instrument]
        return np.where(in_run, turbulent[last], before[self.instrument])

    def ends(self, values: NDArray[T], before: NDArray[T]) -> NDArray[T]:
        """The last value of each run; what it was before where the run is empty."""
        after = before.copy()
        filled = self.lengths > 0
        after[filled] = values[(self.starts + self.lengths - 1)[filled]]
        return after


def _volatility(turbulent: Flags) -> Floats:
    return np.where(turbulent, TURBULENT_VOLATILITY, CALM_VOLATILITY)


def _generator(position: Any) -> np.random.Generator:
    bit_generator = np.random.PCG64()
    bit_generator.state = position
    return np.random.Generator(bit_generator)


def _names(rng: np.random.Generator, n: int) -> list[str]:
    """`n` different tickers of 3 to 5 letters; fewer are a prefix of more."""
    found: dict[str, None] = {}
    while len(found) < n:
        shape = SHAPES[rng.integers(len(SHAPES))]
        letters = (CONSONANTS if kind == "c" else VOWELS for kind in shape)
        found["".join(some[rng.integers(len(some))] for some in letters)] = None
    return list(found)


def _read_capture(captured: bytes) -> dict[str, Any]:
    try:
        record = json.loads(captured)
        version = record["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise CaptureError(f"captured market is damaged ({error!r}): start anew") from error
    if version != CAPTURE_VERSION:
        raise CaptureError(
            f"captured market has version {version}, this build reads {CAPTURE_VERSION}: "
            "start anew, or go on with the build that wrote it"
        )
    return dict(record)


def _position(saved: dict[str, Any], instruments: int) -> _Position:
    position = _Position(
        generator=saved["generator"],
        step=int(saved["step"]),
        factor=float(saved["factor"]),
        market_turbulent=bool(saved["market_turbulent"]),
        walk=np.array(saved["walk"], dtype=np.float64),
        turbulent=np.array(saved["turbulent"], dtype=np.bool_),
        own_ticks=np.array(saved["own_ticks"], dtype=np.int64),
    )
    for column in (position.walk, position.turbulent, position.own_ticks):
        if column.shape != (instruments,):
            raise ValueError(f"{column.shape} instead of {(instruments,)}")
    return position
