"""Whatever comes in: one forecast per valid tick, one dead letter for everything else."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import MessageSizeTooLargeError

from slotcast.delivery import DEAD_LETTER_BYTES
from slotcast.formats.choice import format_of
from slotcast.formats.port import REFUSED
from slotcast_models.schema import RecordFormat, TickSchema
from tests.contract.kafka_topics import Record
from tests.e2e.running import STAMP_MS, Serving, schema_of
from tests.faults.group import Group
from tests.faults.oracle import judge
from tests.faults.outside import Outside
from tests.faults.report import Fault
from tests.formats import written
from tests.servers import Broker

SEQUENCED = """
[schema]
sequence = "n"
targets = [{ name = "price", gt = 0, log = true }]
features = [{ name = "volume", ge = 0 }]
"""


def poison(tick: Record, schema: TickSchema) -> list[Record]:
    """A record of every kind that is no tick, made of one that is."""
    key, value, stamp, _ = tick
    good = value or b""
    values = [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"a": NaN}', b"7" * 5_000, b"[" * 900, b"\xc1",
        b"\x91" * 900, b"\x80" * 300, b"\xdf\xff\xff\xff\xff", good[:-1], good + b"\xc1",
        *_broken(good, schema),
    ]  # fmt: skip
    found = [(key, one, stamp, None) for one in values]
    found += [(None, None, stamp, None), (b"\xff", b"{}", stamp, None), (b"", value, stamp, None)]
    return [*found, (None, b"", stamp, b"no control record"), (key, value, stamp, b'{"type": 7}')]


def _broken(value: bytes, schema: TickSchema) -> Iterator[bytes]:
    """The tick with one thing wrong, as far as its format can say that."""
    fields: dict[str, Any] = format_of(schema).ticks(dict)(value)
    target = schema.targets[0].name
    changes: list[dict[str, Any]] = [
        {target: math.nan}, {target: math.inf}, {"ts": 9_000_000_000_000}, {"instrument": ""},
        {"instrument": "somebody else"}, {"instrument": "x" * 70_000},
    ]  # fmt: skip
    yield from (written(schema, fields | one) for one in changes)
    if schema.format == "avro":
        return  # its schema has no place for what follows
    changes = [
        {"note": "x" * 999_000}, {target: "1"}, {target: None}, {"ts": "yesterday"}, {"ts": 1e30},
    ]  # fmt: skip
    yield from (written(schema, fields | one) for one in changes)
    yield written(schema, {name: one for name, one in fields.items() if name != target})
    yield value.replace(b"ts", b"t\xff")
    if schema.format == "json":
        yield written(schema, fields | {"ts": 10**30})
        yield written(schema, fields | {target: 1}).replace(b": 1,", b": 1e999,")


@pytest.mark.fault("poison of every kind in {form}, among late ticks and equal times")
def test_poison_of_every_kind_does_not_show(
    group: Callable[..., Group], fault: Fault, form: RecordFormat
) -> None:
    workers = group(partitions=2, form=form)
    worker = workers.join_and_flow()
    schema = schema_of(worker.config.read_text())

    for _ in range(3):
        for partition in (0, 1):
            ticks = worker_ticks(worker, partition)
            bad = poison(ticks[0], schema)
            worker.topics.feed(partition, [ticks[0], *bad, ticks[-1], ticks[-1]])
            fault.injected(len(bad))
        workers.flow_for(0.3)
    worker.kill()
    worker.start()
    workers.flow_for(0.5)

    workers.check()
    assert len(worker.dead_letters(0)) >= 3 * len(bad) - 3


def worker_ticks(worker: Serving, partition: int) -> list[Record]:
    """What is in the tick topic, as it could be sent again."""
    schema = schema_of(worker.config.read_text())
    read, target = format_of(schema).ticks(dict), schema.targets[0].name

    def is_tick(value: bytes | None) -> bool:
        with suppress(*REFUSED):
            return target in read(value or b"")
        return False

    records = worker.topics.records(worker.kafka.ticks, partition)
    return [(r.key, r.value, r.timestamp, None) for r in records if is_tick(r.value)]


@pytest.mark.long
@pytest.mark.fault("nothing but poison for seconds")
def test_a_partition_full_of_poison_holds_nobody_up(
    group: Callable[..., Group], fault: Fault
) -> None:
    workers = group(partitions=2)
    worker = workers.join_and_flow()

    begun_s = time.monotonic()
    for _ in range(10):
        worker.topics.feed(0, [(b"A", b"{", STAMP_MS, None)] * 2_000)
        fault.injected(2_000)
    workers.flow_for(0.5)
    fault.still_s = workers.still_s({1}, begun_s, time.monotonic())

    workers.check()
    assert len(worker.dead_letters(0)) == 20_000


@pytest.mark.fault("poison larger than a request")
def test_poison_larger_than_a_request_is_a_dead_letter_of_its_beginning(
    group: Callable[..., Group], fault: Fault
) -> None:
    workers = group(partitions=1)
    worker = workers.join_and_flow()
    allow_large(worker)

    producer = KafkaProducer(
        bootstrap_servers=worker.kafka.bootstrap_servers, max_request_size=16 << 20
    )

    def heeded(key: bytes, value: bytes | None) -> bool:
        """Whether it is in the log; a broker agrees to a limit a little before it heeds it."""
        try:
            producer.send(worker.kafka.ticks, value, key, partition=0).get(60)
        except MessageSizeTooLargeError:
            return False
        fault.injected()
        return True

    notes = [b'{"instrument": "A", "note": "' + b"x" * (mb << 20) + b'"}' for mb in (1, 3, 7)]
    for key, value in [
        *((b"A", note) for note in notes),
        *((b"A" * (1 << 20), v) for v in (None, b"{}")),
    ]:
        workers.until(partial(heeded, key, value), "the limit is not heeded")
    producer.close()
    workers.flow_for(1)

    workers.check()
    letters = worker.dead_letters(0)
    assert [len(letter.value or b"") for letter in letters] == [DEAD_LETTER_BYTES] * 3 + [0, 2]
    assert [len(letter.key) for letter in letters] == [1] * 3 + [DEAD_LETTER_BYTES] * 2


def allow_large(worker: Serving) -> None:
    """Let the tick topic take records of 8 MB."""
    limit = ConfigResource(
        ConfigResourceType.TOPIC, worker.kafka.ticks, {"max.message.bytes": str(8 << 20)}
    )
    with KafkaAdminClient(bootstrap_servers=worker.kafka.bootstrap_servers) as admin:
        admin.alter_configs([limit])


@pytest.mark.fault("input in transactions, some aborted, with an aborted tail")
def test_aborted_input_and_gaps_do_not_show(group: Callable[..., Group], fault: Fault) -> None:
    workers = group(partitions=1)
    worker = workers.join_and_flow()

    def send(count: int, *, abort: bool) -> None:
        ticks = [(k, v) for k, v, *_ in worker_ticks(worker, 0)[-count:]]
        in_transaction(worker, ticks, abort)
        fault.injected()

    for _ in range(3):
        send(30, abort=True)
        send(20, abort=False)
    assert workers.feeder is not None
    workers.feeder.stop()
    send(70, abort=True)
    workers.until(
        lambda: Outside(worker).committed(0) >= last_offset(worker) + 1, "it does not get there"
    )
    worker.kill()
    worker.start()
    workers.until_live(worker)
    send(20, abort=False)

    workers.check()


def last_offset(worker: Serving) -> int:
    return int(worker.topics.records(worker.kafka.ticks, 0)[-1].offset)


def in_transaction(worker: Serving, ticks: Sequence[Any], abort: bool) -> None:
    """Send these in one transaction."""
    producer = KafkaProducer(
        bootstrap_servers=worker.kafka.bootstrap_servers, transactional_id=uuid.uuid4().hex
    )
    producer.init_transactions()
    producer.begin_transaction()
    for key, value in ticks:
        producer.send(worker.kafka.ticks, value, key, partition=0, timestamp_ms=STAMP_MS)
    producer.flush()
    if abort:
        producer.abort_transaction()
    else:
        producer.commit_transaction()
    producer.close()


@pytest.mark.long
@pytest.mark.fault("more instruments in one poll than slots")
def test_more_instruments_than_slots_in_one_poll_do_not_show(
    group: Callable[..., Group], fault: Fault
) -> None:
    workers = group(partitions=1)
    worker = workers.join_and_flow(SLOTCAST_WORKER__SLOTS="2")
    _, value, *_ = worker_ticks(worker, 0)[-1]
    fields = json.loads(value or b"")

    for turn in range(3):
        crowd = [
            json.dumps(fields | {"instrument": f"crowd-{i}", "ts": fields["ts"] + turn}).encode()
            for i in range(600)
        ]
        worker.topics.feed(0, [(None, one, STAMP_MS, None) for one in crowd])
        fault.injected()
    worker.kill()
    worker.start()
    workers.flow_for(0.5)

    workers.check()


@pytest.fixture
def sequenced(
    kafka: Broker, redis_url: str, redis_prefix: str, tmp_path: Path, compiled: None
) -> Iterator[Serving]:
    """A worker whose ticks carry sequence numbers."""
    worker = Serving(tmp_path, kafka.bootstrap, redis_url, redis_prefix, SEQUENCED, 1)
    worker.start()
    yield worker
    worker.kill()
    worker.topics.close()


@pytest.mark.long
@pytest.mark.fault("duplicates, late ticks and equal times, with sequence numbers")
def test_duplicates_are_dropped_and_late_ticks_are_dead_letters(
    sequenced: Serving, fault: Fault
) -> None:
    ticks: list[Record] = []
    for n in range(1, 900):
        for name in ("A", "B", "C"):
            fields = {"instrument": name, "ts": STAMP_MS + n // 2, "n": n, "price": 5 + n % 7}
            tick = (name.encode(), json.dumps(fields).encode(), STAMP_MS + n, None)
            late = json.dumps(fields | {"ts": STAMP_MS - 9, "n": n + 1}).encode()
            ticks += [tick, tick, *ticks[-3:]]
            ticks += [(name.encode(), late, STAMP_MS + n, None)] if n % 5 == 0 else []
    fault.injected(len(ticks) - 3 * 899)

    for start in range(0, len(ticks), 4_000):
        sequenced.topics.feed(0, ticks[start : start + 4_000])
        sequenced.kill()
        sequenced.start()

    judge(fault, sequenced, None)
    assert sequenced.get("/summary")["repeats"] > 0
