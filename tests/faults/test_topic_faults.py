"""The tick topic is deleted and made again, or gets more partitions: noticed, and by policy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.contract.kafka_topics import Record
from tests.e2e.running import PRICE, Serving, market_ticks, reference, schema_of
from tests.faults.outside import POLICY, Outside, until_told
from tests.faults.report import Fault
from tests.servers import Broker


@pytest.fixture
def worker(
    kafka: Broker, redis_url: str, redis_prefix: str, tmp_path: Path, compiled: None
) -> Iterator[Serving]:
    """A worker of two partitions that is not started yet."""
    made = Serving(
        tmp_path, kafka.bootstrap, redis_url, redis_prefix, PRICE, 2,
        kafka="session_timeout_ms = 2000",
    )  # fmt: skip
    yield made
    if made.process is not None:
        made.kill()
    made.topics.close()


def published(worker: Serving, partition: int) -> list[tuple[bytes, bytes]]:
    return [(record.key, record.value) for record in worker.forecasts(partition)]


def due(ticks: Sequence[Sequence[Record]], partition: int) -> list[tuple[bytes, bytes]]:
    return [(f.key, f.value) for f in reference(schema_of(PRICE), ticks)[0][partition]]


def feed(worker: Serving, ticks: Sequence[Sequence[Record]]) -> None:
    worker.topics.feed_all(dict(enumerate(ticks)))


def position(value: bytes) -> dict[str, Any]:
    return dict(json.loads(value)["tick"])


@pytest.mark.fault("the tick topic deleted and made again, {when}")
@pytest.mark.parametrize("when", ["running", pytest.param("stopped", marks=pytest.mark.long)])
def test_a_topic_that_is_made_again_is_left_to_the_policy(
    worker: Serving, fault: Fault, when: str
) -> None:
    ticks = market_ticks(3_000, 2)
    outside = Outside(worker)
    worker.start()
    feed(worker, ticks)
    worker.wait_committed([len(some) for some in ticks])
    old = [published(worker, p) for p in (0, 1)]
    if when == "stopped":
        worker.stop()

    outside.remake_topic()
    fault.injected()
    again = [some[:400] for some in market_ticks(2_000, 2)]
    feed(worker, again)
    if when == "stopped":
        worker.start()
    until_told(worker, "deleted and created again", "no committed offset", "made anew")
    assert [published(worker, p) for p in (0, 1)] == old
    worker.stop()
    worker.start(**{POLICY: "cold"})
    worker.wait_committed([400, 400])

    for partition in (0, 1):
        assert published(worker, partition) == old[partition] + due(again, partition)
    fault.ticks = sum(map(len, ticks)) + 800


@pytest.mark.long
@pytest.mark.fault("the tick topic gets a partition while the worker is stopped")
def test_a_forecast_topic_with_fewer_partitions_is_refused_at_start(
    worker: Serving, fault: Fault
) -> None:
    ticks = market_ticks(3_000, 2)
    outside = Outside(worker)
    worker.start()
    feed(worker, [some[:1_000] for some in ticks])
    worker.wait_committed([1_000, 1_000])
    worker.stop()

    outside.grow(worker.kafka.ticks, 3)
    fault.injected()
    with pytest.raises(AssertionError, match="no address in the log"):
        worker.start()
    assert f"give {worker.kafka.forecasts} at least 3" in worker.log_tail()
    outside.grow(worker.kafka.forecasts, 3)
    worker.start()
    check_moved(worker, ticks, fault)


@pytest.mark.long
@pytest.mark.fault("the tick topic gets a partition while the worker runs")
def test_a_new_partition_waits_for_its_forecast_partition_and_holds_nobody_up(
    worker: Serving, fault: Fault
) -> None:
    ticks = market_ticks(3_000, 2)
    outside = Outside(worker)
    worker.start()
    feed(worker, [some[:900] for some in ticks])
    worker.wait_committed([900, 900])

    outside.grow(worker.kafka.ticks, 3)
    fault.injected()
    until_told(worker, f"give {worker.kafka.forecasts} at least 3")
    feed(worker, [some[900:1_000] for some in ticks])
    worker.wait_committed([1_000, 1_000])
    outside.grow(worker.kafka.forecasts, 3)
    check_moved(worker, ticks, fault)


def check_moved(worker: Serving, ticks: Sequence[Sequence[Record]], fault: Fault) -> None:
    """An instrument that moves to the new partition begins anew there, and the log says so."""
    moved = [tick for tick in ticks[0] if tick[0] == ticks[0][0][0]][-20:]
    worker.topics.feed(2, moved)
    feed(worker, [some[1_000:1_200] for some in ticks])
    worker.wait_committed([1_200, 1_200, len(moved)])

    for partition in (0, 1):
        cut = [some[:1_200] for some in ticks]
        assert published(worker, partition) == due(cut, partition)
    found = [position(value) for _, value in published(worker, 2)]
    assert [tick["ticks"] for tick in found] == list(range(1, len(moved) + 1))
    assert {tick["origin"] for tick in found} == {0}
    assert "partition 2 is new" in worker.log_tail(500)
    fault.ticks = 2_400 + len(moved)
