"""What a tick and a forecast cost in each format, by turns.

    make bench-formats

400 instruments of the simulated market, default bundle, one thread, no log: `TickParser.parse` and
`ForecastEncoder.encode` on the same ticks, written as JSON, as MessagePack and as Avro.
"""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any

import msgspec

from benchmarks.report import Spread, by_turns, number, ratio, repeated, show, write
from benchmarks.streams import market_batches
from slotcast.engine import Engine
from slotcast.formats.choice import format_of
from slotcast.log.port import Batch
from slotcast.records.forecasts import ForecastEncoder
from slotcast.records.ticks import TickParser
from slotcast_models.bundle import Bundle
from slotcast_models.columns import chosen
from slotcast_models.predictor import Predictor
from slotcast_models.schema import TickSchema
from slotcast_models.step import numerics

INSTRUMENTS, TICKS, ROUNDS = 400, 5_000, 40
FORMATS = ("json", "msgpack", "avro")


class Contest:
    """Parser and encoder of one format, and a poll of ticks in it."""

    def __init__(self, name: str, batch: Batch) -> None:
        schema = TickSchema.model_validate(TickSchema.default().model_dump() | {"format": name})
        bundle, form = Bundle.load().bind(schema), format_of(schema)
        ticks = [form.write_tick(msgspec.json.decode(value or b"")) for value in batch.values]
        self._batch, self._parser = replace(batch, values=ticks), TickParser(schema)
        engine, self._parsed = Engine(Predictor(bundle), INSTRUMENTS, TICKS), self.parse()
        for instrument in engine.absent(0, self._parsed.names):
            engine.admit(0, instrument)
        (stepped,) = engine.advance([self._parsed])
        assert len(stepped.ticked) == TICKS, "every tick of the market is valid"
        self._published = chosen(stepped.published, slice(None))
        self._encoder = ForecastEncoder(bundle, numerics())
        self.tick_bytes = sum(map(len, ticks)) / TICKS
        self.forecast_bytes = sum(map(len, self.encode())) / TICKS

    def parse(self) -> Any:
        """The poll, parsed."""
        return self._parser.parse(self._batch)

    def encode(self) -> list[bytes]:
        """Its forecasts, encoded."""
        p = self._parsed
        columns = p.names, p.time_ns, p.offset, p.value, self._published
        return list(self._encoder.encode(0, *columns))


def main() -> None:
    batch = next(market_batches(INSTRUMENTS, TICKS))
    contests = {name: Contest(name, batch) for name in FORMATS}
    gc.freeze()
    turns = {f"{n} parse": repeated(c.parse) for n, c in contests.items()}
    turns |= {f"{n} encode": repeated(c.encode) for n, c in contests.items()}
    seconds = by_turns(turns, ROUNDS, calls=1)
    us = {what: [1e6 * s / TICKS for s in samples] for what, samples in seconds.items()}
    results = [_result(name, contest, us) for name, contest in contests.items()]
    rows = [
        [
            one["format"],
            *(f"{one[part].text()} {number(one[f'{part}_to_json'].median)} x" for part in PARTS),
            number(one["tick_bytes"]),
            number(one["forecast_bytes"]),
        ]
        for one in results
    ]
    show(
        f"Formats: us per record, polls of {TICKS:,} ticks of {INSTRUMENTS} instruments",
        ["format", "parse a tick", "encode a forecast", "bytes of a tick", "of a forecast"],
        rows,
        "x: times what JSON takes, round by round.",
    )
    write("formats", {"instruments": INSTRUMENTS, "ticks": TICKS, "formats": results})


PARTS = ("parse", "encode")


def _result(name: str, contest: Contest, us: dict[str, list[float]]) -> dict[str, Any]:
    found: dict[str, Any] = {"format": name}
    for part in PARTS:
        found[part] = Spread.of(us[f"{name} {part}"])
        found[f"{part}_to_json"] = ratio(us[f"{name} {part}"], us[f"json {part}"])
    sizes = {"tick_bytes": contest.tick_bytes, "forecast_bytes": contest.forecast_bytes}
    return found | sizes


if __name__ == "__main__":
    main()
