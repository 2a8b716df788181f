"""MessagePack and Avro on a real Kafka: produced, served, killed, read, proved."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from typer.testing import CliRunner

from slotcast.cli import app
from slotcast.formats.documents import shipped
from slotcast_models.schema import RecordFormat
from tests.contract.kafka_topics import Record
from tests.e2e.running import PRICE, STAMP_MS, Serving, market_ticks, reference, schema_of
from tests.formats import plain, written
from tests.servers import Broker

others = pytest.mark.parametrize("form", ["msgpack", "avro"])
ROWS = 300


def command(*arguments: str) -> Any:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture
def serving(
    kafka: Broker, redis_url: str, redis_prefix: str, tmp_path: Path
) -> Iterator[Callable[[RecordFormat], Serving]]:
    made: list[Serving] = []

    def make(form: RecordFormat) -> Serving:
        schema = f'{PRICE}\nformat = "{form}"'
        made.append(Serving(tmp_path, kafka.bootstrap, redis_url, redis_prefix, schema, 1))
        return made[0]

    yield make
    for one in made:
        if one.process is not None:
            one.kill()
        one.topics.close()


def in_format(worker: Serving, ticks: list[Record]) -> list[Record]:
    schema = schema_of(worker.config.read_text())
    return [
        (key, written(schema, msgspec.json.decode(value or b"")), stamp, control)
        for key, value, stamp, control in ticks
    ]


def bad(worker: Serving, good: bytes) -> dict[str, bytes]:
    """A record of every kind that can be wrong in a binary format, by reason."""
    schema = schema_of(worker.config.read_text())
    form = schema.format
    fields = {"instrument": "A", "ts": STAMP_MS, "price": 2.0, "volume": 1.0}
    found = {
        f"not_{form}": good + b"\xc1",
        "out_of_bounds": written(schema, fields | {"price": -1.0}),
        "not_finite": written(schema, fields | {"price": float("nan")}),
        "key_mismatch": written(schema, fields | {"instrument": "B"}),
        "too_large": written(schema, fields | {"instrument": "x" * 70_000}),
        "empty": b"",
        "far_future": written(schema, fields | {"ts": 9_000_000_000_000}),
    }
    if form == "msgpack":
        found["wrong_type"] = written(schema, fields | {"price": "2"})
        found["missing_field"] = written(schema, {"ts": 1})
    return found


@others
def test_a_worker_in_another_format_is_as_good(
    serving: Callable[..., Serving], form: RecordFormat
) -> None:
    worker = serving(form)
    ticks = in_format(worker, market_ticks(3_000, 1)[0])
    broken = bad(worker, ticks[0][1] or b"")
    ticks[1_000:1_000] = [(b"A", value, STAMP_MS, None) for value in broken.values()]
    (expected,), (letters,) = reference(schema_of(worker.config.read_text()), [ticks])

    worker.start()
    worker.topics.feed(0, ticks[:1_500])
    worker.wait_committed([1_200])
    worker.kill()
    worker.start()
    worker.topics.feed(0, ticks[1_500:])
    worker.wait_committed([len(ticks)])

    found = worker.forecasts(0)
    assert [(f.key, f.value) for f in found] == [(f.key, f.value) for f in expected]
    dead = [dict(letter.headers) for letter in worker.dead_letters(0)]
    assert [d["slotcast-reason"].decode() for d in dead] == list(broken)
    assert len(letters) == len(broken)
    for letter, original in zip(worker.dead_letters(0), broken.values(), strict=True):
        assert (letter.value or b"") == original[:65_536]
        headers = {name: value.decode() for name, value in letter.headers}
        jsonschema.validate(headers, shipped("dead-letter-1.schema.json"))
    tell_the_same(worker, found[-1].value)


def tell_the_same(worker: Serving, last: bytes) -> None:
    """What REST, events, `verify` and `derive` say of the last forecast."""
    record = plain(schema_of(worker.config.read_text()), last)
    seen = worker.get(f"/instruments/{record['instrument']}")
    assert seen["targets"][0]["forecast"] == record["targets"]["price"]["forecast"]
    assert seen["offset"] == record["tick"]["offset"]
    jsonschema.validate(record, shipped("forecast-1.schema.json"))

    at = ("--config", str(worker.config))
    proved = json.loads(command("verify", *at, "--json").stdout)
    derived = command("derive", "0", str(record["tick"]["offset"]), *at).stdout.splitlines()
    assert proved["exit_code"] == 0
    assert json.loads(derived[0].removeprefix("published  ")) == record
    assert derived[-1] == "the same bytes"


@others
def test_a_file_is_produced_in_the_configured_format(
    serving: Callable[..., Serving], form: RecordFormat, tmp_path: Path
) -> None:
    worker, file = serving(form), tmp_path / "prices.csv"
    rows = [f"A,{STAMP_MS + i},{5 + i % 7},{'' if i % 5 else i}" for i in range(ROWS)]
    file.write_text("instrument,ts,price,volume\n" + "\n".join(rows))
    worker.start()

    command("produce", str(file), "--config", str(worker.config))
    worker.wait_committed([ROWS])

    assert len(worker.forecasts(0)) == ROWS
    assert not worker.dead_letters(0)
    recorded = [json.dumps(plain_tick(line)) for line in rows]
    assert len(b"".join(r.value for r in worker.topics.records(worker.kafka.ticks, 0))) < len(
        "".join(recorded)
    )


def plain_tick(line: str) -> dict[str, Any]:
    name, ts, price, volume = line.split(",")
    found = {"instrument": name, "ts": int(ts), "price": float(price)}
    return found | ({"volume": float(volume)} if volume else {})


def test_avro_with_a_schema_file_of_ones_own(
    kafka: Broker, redis_url: str, redis_prefix: str, tmp_path: Path
) -> None:
    file = tmp_path / "trade.avsc"
    fields = [
        {"name": "venue", "type": {"type": "enum", "name": "Venue", "symbols": ["X", "Y"]}},
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "price", "type": ["float", "double"]},
        {"name": "notes", "type": {"type": "array", "items": "string"}, "default": []},
    ]
    file.write_text(json.dumps({"type": "record", "name": "Trade", "fields": fields}))
    lines = f'[schema]\ntargets = ["price"]\nformat = "avro"\navro_schema = "{file}"'
    worker = Serving(tmp_path, kafka.bootstrap, redis_url, redis_prefix, lines, 1)
    schema = worker.settings.tick_schema
    assert schema is not None
    ticks = [
        {"venue": "Y", "ts": STAMP_MS + i, "price": 1 + i % 5, "notes": ["a"]} for i in range(50)
    ]

    worker.start()
    try:
        worker.topics.feed(0, [(b"A", written(schema, t), STAMP_MS, None) for t in ticks])
        worker.wait_committed([50])
        found = [plain(schema, f.value) for f in worker.forecasts(0)]
    finally:
        worker.kill()
        worker.topics.close()

    assert [f["targets"]["price"]["value"] for f in found] == [t["price"] for t in ticks]
    assert {f["instrument"] for f in found} == {"A"}
    assert re.fullmatch(r"default-[0-9a-f]{12}", found[0]["model"]["bundle"])
