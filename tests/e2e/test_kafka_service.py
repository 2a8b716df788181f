"""The real job: `slotcast serve` as a process of its own, on a real Kafka and a real Redis."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.running import (
    PRICE,
    STAMP_MS,
    Serving,
    by_identity,
    market_ticks,
    reference,
    schema_of,
)
from tests.servers import Broker


@pytest.fixture
def serving(
    kafka: Broker, redis_url: str, redis_prefix: str, tmp_path: Path
) -> Iterator[Callable[[str, int], Serving]]:
    made: list[Serving] = []

    def make(
        schema: str = PRICE,
        partitions: int = 1,
        delivery: str = "exactly-once",
        client: str = "kafka-python",
    ) -> Serving:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        places = (folder, kafka.bootstrap, redis_url, redis_prefix)
        lines = f'client = "{client}"'
        made.append(Serving(*places, schema, partitions, delivery, kafka=lines))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.kill()
        one.topics.close()


@pytest.mark.parametrize("client", ["kafka-python", "librdkafka"])
@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
def test_kill_9_at_random_moments_does_not_show(
    serving: Callable[..., Serving], delivery: str, client: str
) -> None:
    ticks = market_ticks(12_000, 2)
    expected, _ = reference(schema_of(PRICE), ticks)
    worker, rng = serving(PRICE, 2, delivery, client), random.Random(4)
    parts, fed = 24, [0, 0]

    for part in range(parts):
        for partition, records in enumerate(ticks):
            size = len(records) // parts + 1
            worker.topics.feed(partition, records[part * size : (part + 1) * size])
            fed[partition] += len(records[part * size : (part + 1) * size])
        if part % 4 == 3:
            time.sleep(rng.uniform(0.0, 0.6))
            worker.kill()
            worker.start()
    worker.wait_committed(fed)

    for partition in range(2):
        records = worker.forecasts(partition)
        found = by_identity(records)
        if delivery == "exactly-once":
            assert len(records) == len(found)
        assert sorted(found) == [f.offset for f in expected[partition]]
        assert [found[f.offset] for f in expected[partition]] == [
            (f.key, f.value) for f in expected[partition]
        ]
    assert worker.stop() == 0


BAD: dict[str, tuple[bytes | None, bytes]] = {
    "not_json": (b"A", b"{'instrument': 'A'}"),
    "missing_field": (b"A", b'{"instrument": "A", "ts": 1}'),
    "wrong_type": (b"A", b'{"instrument": "A", "ts": 1, "price": "3"}'),
    "not_finite": (b"A", b'{"instrument": "A", "ts": 1, "price": NaN}'),
    "out_of_bounds": (b"A", b'{"instrument": "A", "ts": 1, "price": 0}'),
    "empty": (b"A", b""),
    "too_large": (b"A", b'{"instrument": "A", "pad": "' + b"x" * 999_000 + b'"}'),
    "not_utf8": (b"A", b'{"instrument": "A", "ts": 1, "price": 1, "note": "\xff"}'),
    "far_future": (b"A", b'{"instrument": "A", "ts": 9000000000000, "price": 1}'),
    "late": (b"A", b'{"instrument": "A", "ts": 999, "price": 1}'),
    "key_mismatch": (b"B", b'{"instrument": "A", "ts": 2000, "price": 1}'),
    "no_instrument": (None, b'{"ts": 2000, "price": 1}'),
    "bad_time": (b"A", b'{"instrument": "A", "ts": 1e300, "price": 1}'),
}


def test_every_kind_of_bad_input_is_one_dead_letter(serving: Callable[..., Serving]) -> None:
    worker = serving()
    good = [(b"A", b'{"instrument": "A", "ts": %d, "price": 5, "x": []}' % t) for t in (1000, 3000)]
    records = [good[0], *BAD.values(), good[1]]
    stamped = [(key, value, STAMP_MS, None) for key, value in records]

    worker.topics.feed(0, stamped)
    worker.wait_committed([len(records)])

    assert sorted(by_identity(worker.forecasts(0))) == [0, len(records) - 1]
    letters = worker.dead_letters(0)
    headers = [{name: value.decode() for name, value in letter.headers} for letter in letters]
    assert [h["slotcast-reason"] for h in headers] == list(BAD)
    assert [int(h["slotcast-offset"]) for h in headers] == list(range(1, len(BAD) + 1))
    assert {h["slotcast-topic"] for h in headers} == {worker.kafka.ticks}
    for letter, (key, value) in zip(letters, BAD.values(), strict=True):
        assert (letter.key, letter.value or b"") == (key, value[:65_536])
    metrics = worker.text("/metrics")
    for reason in BAD:
        assert re.search(rf'slotcast_rejects_total{{reason="{reason}"}} 1\.0', metrics), reason


def test_resets_by_rest_and_by_tombstone(serving: Callable[..., Serving]) -> None:
    worker = serving()
    ticks = [(b"A", b'{"instrument": "A", "ts": %d, "price": %d}' % (t, t), STAMP_MS, None)
             for t in range(1, 6)]  # fmt: skip
    worker.topics.feed(0, ticks)
    worker.wait_committed([5])
    assert worker.get("/instruments/A")["ticks"] == 5

    status, body = worker.post("/instruments/A/reset")
    worker.topics.feed(0, [(b"A", b'{"instrument": "A", "ts": 1, "price": 9}', STAMP_MS, None)])
    worker.topics.feed(0, [(b"A", None, STAMP_MS, None)])
    worker.topics.feed(0, [(b"A", b'{"instrument": "A", "ts": 1, "price": 9}', STAMP_MS, None)])
    worker.wait_committed([9])

    assert status == 200
    assert body["receipts"][0]["offset"] == 5
    ages = [json.loads(r.value)["tick"] for r in worker.forecasts(0)]
    assert [(age["origin"], age["ticks"]) for age in ages[-2:]] == [(6, 1), (8, 1)]
    status, body = worker.post("/reset", {"all": True})
    assert status == 200
    assert {receipt["committed"] for receipt in body["receipts"]} == {True}


def test_readiness_says_why_not(serving: Callable[..., Serving]) -> None:
    worker = serving()
    worker.wait_committed([0])

    assert worker.get("/v2/health/ready")["ready"] is True
    assert worker.get("/v2/health/live")
