"""Where the time of a tick goes between the log's bytes and the forecast's bytes.

    make bench-engine

400 instruments of the simulated market, default bundle, one thread, no log: `TickParser.parse`,
`Engine.advance` (split into its own part, the fold and the network) and `ForecastEncoder.encode`.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from benchmarks.report import Spread, number, show, write
from benchmarks.streams import market_batches
from slotcast.engine import Engine, Stepped
from slotcast.records.forecasts import ForecastEncoder
from slotcast.records.ticks import Parsed, TickParser
from slotcast_models.bundle import Bundle
from slotcast_models.columns import chosen
from slotcast_models.predictor import Predictor
from slotcast_models.schema import TickSchema
from slotcast_models.step import numerics

INSTRUMENTS = 400
POLLS = {10_000: 40, 100: 1_500}
WARM_UP = 0.25
PARTS = ("parse", "engine", "fold", "network", "encode")


@dataclass
class Stopwatch:
    """Seconds spent in some functions since the last look."""

    seconds: dict[str, float] = field(default_factory=dict)

    def over(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""
        self.seconds[name] = 0.0

        def timed(*arguments: Any) -> Any:
            begun = time.perf_counter()
            result = function(*arguments)
            self.seconds[name] += time.perf_counter() - begun
            return result

        return timed

    def look(self) -> dict[str, float]:
        """What was spent, and start anew."""
        spent = dict(self.seconds)
        self.seconds = dict.fromkeys(spent, 0.0)
        return spent


class Pipeline:
    """Parser, engine and encoder of one bundle, each under the stopwatch."""

    def __init__(self) -> None:
        bundle = Bundle.load().bind(TickSchema.default())
        self._watch = watch = Stopwatch()
        self._engine = engine = Engine(Predictor(bundle), 1024, max(POLLS))
        program, predictor = engine.predictor._program, engine.predictor
        program.step = watch.over("network", program.step)  # type: ignore[method-assign]
        predictor.advance = watch.over("predictor", predictor.advance)  # type: ignore[method-assign]
        self._parse = watch.over("parse", TickParser(bundle.schema).parse)
        self._advance = watch.over("advance", engine.advance)
        encode = ForecastEncoder(bundle, numerics()).encode
        self._encode = watch.over("encode", lambda *columns: list(encode(*columns)))

    def take(self, batch: Any) -> dict[str, float]:
        """Seconds of each part for one poll."""
        parsed: Parsed = self._parse(batch)
        for name in self._engine.absent(0, parsed.names):
            self._engine.admit(0, name)
        stepped: Stepped = self._advance([parsed])[0]
        assert len(stepped.ticked) == len(batch), "every tick of the market is valid"
        self._encode(
            0,
            parsed.names,
            parsed.time_ns,
            parsed.offset,
            parsed.value,
            chosen(stepped.published, slice(None)),
        )
        spent = self._watch.look()
        spent["engine"] = spent.pop("advance") - spent["predictor"]
        spent["fold"] = spent.pop("predictor") - spent["network"]
        return spent


def measure(ticks: int, polls: int) -> dict[str, Any]:
    """us per tick of each part, for polls of `ticks` ticks."""
    pipeline, batches = Pipeline(), market_batches(INSTRUMENTS, ticks)
    samples: dict[str, list[float]] = {part: [] for part in PARTS}
    for batch in islice(batches, round(WARM_UP * polls)):
        pipeline.take(batch)
    for batch in islice(batches, polls):
        for part, seconds in pipeline.take(batch).items():
            samples[part].append(1e6 * seconds / ticks)
    total = [sum(parts) for parts in zip(*samples.values(), strict=True)]
    return {
        "poll_ticks": ticks,
        "us_per_tick": {part: Spread.of(values) for part, values in samples.items()},
        "total_us_per_tick": Spread.of(total),
    }


def main() -> None:
    gc.freeze()
    results = [measure(ticks, polls) for ticks, polls in POLLS.items()]
    rows = [[part, *(_cell(result, part) for result in results)] for part in PARTS]
    totals = [result["total_us_per_tick"] for result in results]
    rows.append(["all", *(total.text() for total in totals)])
    rows.append(["ticks/s", *(number(1e6 / total.median) for total in totals)])
    show(
        f"From bytes to bytes: {INSTRUMENTS} instruments, default bundle, us per tick, one thread",
        ["part", *(f"polls of {ticks:,} ticks" for ticks in POLLS)],
        rows,
        "engine: columns, slots, shares. fold: verdicts, waves, the predictor without the network.",
    )
    write("engine", {"instruments": INSTRUMENTS, "polls": results})


def _cell(result: dict[str, Any], part: str) -> str:
    spread, total = result["us_per_tick"][part], result["total_us_per_tick"]
    return f"{spread.text()} {100 * spread.median / total.median:3.0f} %"


if __name__ == "__main__":
    main()
