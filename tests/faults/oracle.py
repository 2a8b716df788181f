"""What must hold after every fault, whatever it was.

The tick topic itself is run through once more, without any trouble: that is the reference. Then:

1. Every valid tick has exactly one committed forecast, in tick order, with the reference's bytes.
2. Every other record has its dead letter, once, in order.
3. A reader of committed records never saw anything else meanwhile.
4. `slotcast verify`, which also compares the fingerprint of the committed memory, finds the same.

At least once, a forecast or dead letter may be there again, with the same bytes: then 1 and 2 hold
for the first of each, and 3 is not promised.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from slotcast.bootstrap import history, load_bundle
from slotcast.log.kafka.records import dead_letter_of
from slotcast.log.memory.log import MemoryBroker
from slotcast.proof.verify import Proof
from slotcast_models.step import numerics
from tests.e2e.running import Serving, run_through, schema_of
from tests.e2e.streaming import Watcher
from tests.faults.report import Fault

PATIENCE_S = 60.0


def reference_of(worker: Serving) -> MemoryBroker:
    """An uninterrupted run over what is in the tick topic now, at the same offsets."""
    broker = MemoryBroker(worker.partitions)
    for partition in range(worker.partitions):
        for record in worker.topics.records(worker.kafka.ticks, partition):
            broker.skip(partition, record.offset - broker.end[partition])
            control = dict(record.headers).get("slotcast-control")
            broker.feed(partition, record.key, record.value, record.timestamp, control)
    run_through(schema_of(worker.config.read_text()), broker)
    return broker


def judge(
    fault: Fault,
    worker: Serving,
    watcher: Watcher | None,
    expected: MemoryBroker | None = None,
    *,
    proved: bool = True,
) -> None:
    """Compare what came out with the reference, or with `expected` where a fault changes that.

    `proved`: and `slotcast verify` must prove it, which it cannot of several memories in a row.
    """
    expected = expected or reference_of(worker)
    fault.ticks = sum(map(len, expected.ticks))
    _await_all(worker, expected)
    partitions = range(worker.partitions)
    found = [[(r.key, r.value) for r in worker.forecasts(p)] for p in partitions]
    wanted = [[(f.key, f.value) for f in expected.forecasts[p]] for p in partitions]
    letters = [sorted(worker.dead_letters(p), key=_place) for p in partitions]
    told = [[_facts(dead_letter_of(record)) for record in some] for some in letters]
    due = [[_facts(letter) for letter in expected.dead_letters[p]] for p in partitions]
    fault.repeats, fault.losses = count([*found, *told], [*wanted, *due])
    once = worker.kafka.delivery == "exactly-once"
    if not once:
        found, told = list(map(_firsts, found)), list(map(_firsts, told))

    for partition in partitions:
        assert found[partition] == wanted[partition], f"forecasts of partition {partition}"
        assert told[partition] == due[partition], f"dead letters of partition {partition}"
    if watcher is not None and once:
        _check_seen(watcher, wanted)
    assert fault.ticks > 0
    if proved:
        assert proof(worker) == {}


def proof(worker: Serving) -> dict[int, Any]:
    """What `slotcast verify` has to say against it, by partition."""
    opened = history(worker.settings)
    try:
        promise = worker.kafka.delivery
        prover = Proof(opened, load_bundle(worker.settings), numerics(), promise)
        reports = [prover.verify(partition) for partition in opened.partitions()]
    finally:
        opened.close()
    return {r.partition: msgspec.to_builtins(r) for r in reports if r.exit_code}


def _await_all(worker: Serving, expected: MemoryBroker) -> None:
    """Wait until the offsets of everything are committed, or for as long as that may take."""
    waiting = {p: at.offset for p, at in expected.offsets.items()}
    deadline = time.monotonic() + PATIENCE_S
    opened = history(worker.settings)
    try:
        while waiting and time.monotonic() < deadline:
            for partition, end in list(waiting.items()):
                committed = opened.committed(partition)
                if committed is not None and committed.offset >= end:
                    del waiting[partition]
            time.sleep(0.1 if waiting else 0)
    finally:
        opened.close()


def _check_seen(watcher: Watcher, wanted: Sequence[Sequence[tuple[bytes, bytes]]]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while len(watcher.seen) < sum(map(len, wanted)) and time.monotonic() < deadline:
        time.sleep(0.05)
    watcher.stop()
    for partition, due in enumerate(wanted):
        seen = [s.value for s in watcher.seen if s.partition == partition]
        assert seen == [value for _, value in due], "a reader saw something else meanwhile"


def _place(record: Any) -> int:
    return dead_letter_of(record).offset


def _facts(letter: Any) -> tuple[Any, ...]:
    """What a dead letter promises; its detail is for people."""
    return (letter.offset, letter.reason, letter.key, letter.value, letter.length, letter.sha256)


def _firsts(some: Sequence[Any]) -> list[Any]:
    """Without repeats of the same."""
    return list(dict.fromkeys(some))


def count(found: Sequence[Sequence[Any]], due: Sequence[Sequence[Any]]) -> tuple[int, int]:
    """(too many, missing)."""
    there = Counter((i, one) for i, some in enumerate(found) for one in some)
    wanted = Counter((i, one) for i, some in enumerate(due) for one in some)
    return (there - wanted).total(), (wanted - there).total()
