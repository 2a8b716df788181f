"""A reset is a record of the log: at any worker, in any weather, applied once at its place."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.running import STAMP_MS, Serving
from tests.faults.group import Group, live_of
from tests.faults.report import Fault
from tests.servers import PATIENCE_S


def instruments(workers: Group, partition: int) -> list[str]:
    """Those that have ticked in a partition so far, in order of appearance."""
    seen = [s.value for s in workers.watcher.seen if s.partition == partition]
    return list(dict.fromkeys(json.loads(value)["instrument"] for value in seen))


def reset(worker: Serving, instrument: str) -> tuple[int, Any]:
    """Status and body of a reset by REST."""
    return worker.post(f"/instruments/{quote(instrument, safe='')}/reset")


def restarts(workers: Group) -> int:
    """How many memories begin in the forecasts so far."""
    return sum(json.loads(seen.value)["tick"]["ticks"] == 1 for seen in workers.watcher.seen)


@pytest.mark.fault("reset of paged-out instruments")
def test_a_reset_of_a_paged_out_instrument_takes_place_where_it_stands(
    group: Callable[..., Group], fault: Fault
) -> None:
    workers = group(partitions=1)
    worker = workers.join_and_flow(SLOTCAST_WORKER__SLOTS="2")
    workers.until(lambda: len(instruments(workers, 0)) >= 10, "there are too few instruments")
    names = instruments(workers, 0)

    for name in names[:10]:
        status, body = reset(worker, name)
        fault.injected()
        assert (status, body["committed"]) == (200, True)
        assert [receipt["partition"] for receipt in body["receipts"]] == [0]
    workers.until(lambda: restarts(workers) >= len(names) + 10, "memories do not begin anew")

    workers.check()


@pytest.mark.long
@pytest.mark.fault("reset of everything")
def test_a_reset_of_all_reaches_those_that_are_paged_out(
    group: Callable[..., Group], fault: Fault
) -> None:
    workers = group(partitions=2)
    worker = workers.join_and_flow()

    for _ in range(3):
        status, body = worker.post("/reset", {"all": True})
        fault.injected()
        assert status == 200
        assert sorted(receipt["partition"] for receipt in body["receipts"]) == [0, 1]
        workers.flow_for(0.3)
    worker.kill()
    worker.start()
    workers.flow_for(0.5)

    workers.check()


@pytest.mark.long
@pytest.mark.fault("a storm of resets and tombstones, and a kill in it")
def test_a_storm_of_resets_does_not_show(group: Callable[..., Group], fault: Fault) -> None:
    workers = group(partitions=2)
    worker = workers.join_and_flow()
    names = [instruments(workers, p) for p in (0, 1)]

    for turn in range(3):
        for partition in (0, 1):
            keys = [name.encode() for name in names[partition]] * 20
            storm = [(key, None, STAMP_MS, None) for key in [*keys, b"nobody knows me"]]
            worker.topics.feed(partition, storm)
            fault.injected(len(storm))
        if turn == 1:
            worker.kill()
            worker.start()
        workers.flow_for(0.3)

    workers.check()


@pytest.mark.long
@pytest.mark.fault("resets during rebalances")
def test_resets_during_rebalances_do_not_show(group: Callable[..., Group], fault: Fault) -> None:
    workers = group(partitions=4, session_timeout_ms=2_000, transaction_timeout_ms=4_000)
    first = workers.join("worker-0")
    workers.feed()
    workers.flow_for(1)
    names = [name for p in range(4) for name in instruments(workers, p)]
    with resetting(first, names, fault):
        guest = workers.join("worker-1")
        workers.until_live(guest)
        workers.flow_for(0.5)
        guest.kill()
        workers.flow_for(1)

    workers.check()
    assert fault.times > 5


class resetting:  # noqa: N801  # reads as what is going on meanwhile
    """Resets one instrument after the other at this worker, whatever it answers."""

    def __init__(self, worker: Serving, names: list[str], fault: Fault) -> None:
        self._worker, self._names, self._fault = worker, names, fault
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(PATIENCE_S)

    def _run(self) -> None:
        for name in self._rounds():
            status, _ = reset(self._worker, name)
            assert status in (200, 202)
            self._fault.injected()

    def _rounds(self) -> Iterator[str]:
        while True:
            for name in self._names:
                if self._stopped.wait(0.1):
                    return
                yield name


@pytest.mark.fault("reset at a worker that does not own the instrument")
def test_any_worker_takes_a_reset_for_any_instrument(
    group: Callable[..., Group], fault: Fault
) -> None:
    workers = group(partitions=2)
    pair = [workers.join("worker-0"), workers.join("worker-1")]
    workers.feed()
    workers.flow_for(1)
    owner = {p: worker for worker in pair for p in live_of(worker)}
    names = {p: instruments(workers, p) for p in (0, 1)}

    for partition, some in names.items():
        (other,) = (worker for worker in pair if worker is not owner[partition])
        for name in some[:3]:
            status, body = reset(other, name)
            fault.injected()
            assert (status, body["committed"]) == (200, True)
            assert partition in {receipt["partition"] for receipt in body["receipts"]}
    status, _ = pair[0].post("/reset", {"all": True})
    fault.injected()
    assert status == 200
    workers.flow_for(0.5)

    workers.check()


@pytest.mark.long
@pytest.mark.fault("killed between a reset's write and its commit")
def test_a_reset_survives_a_crash_right_after_its_write(
    group: Callable[..., Group], fault: Fault
) -> None:
    workers = group(partitions=1)
    worker = workers.join_and_flow()
    worker.stop()
    worker.start(SLOTCAST_WORKER__COMMIT_INTERVAL_MS="4000")
    workers.flow_for(0.5)
    name = instruments(workers, 0)[0]

    asking = threading.Thread(target=_ask_in_vain, args=(worker, name), daemon=True)
    asking.start()
    tombstone = until_written(worker, name)
    worker.kill()
    fault.injected()
    asking.join(PATIENCE_S)
    published = [json.loads(record.value)["tick"]["offset"] for record in worker.forecasts(0)]
    assert max(published) < tombstone, "it was committed before the kill"
    worker.start()
    workers.flow_for(0.5)

    workers.check()
    ticks = [json.loads(record.value)["tick"] for record in worker.forecasts(0)]
    assert any(tick["origin"] > tombstone and tick["ticks"] == 1 for tick in ticks)


def _ask_in_vain(worker: Serving, name: str) -> None:
    with pytest.raises(OSError, match=r".*"):
        reset(worker, name)


def until_written(worker: Serving, name: str) -> int:
    """Wait until the tombstone is in the log; its offset."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for record in worker.topics.records(worker.kafka.ticks, 0):
            if record.value is None and record.key == name.encode():
                return int(record.offset)
    raise AssertionError(f"no tombstone of {name}")
