"""A worker that is frozen (SIGSTOP) inside a transaction and woken up too late for somebody."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.running import Serving
from tests.faults.group import Group, gained, is_stopped
from tests.faults.report import Fault
from tests.servers import KafkaServer

LONG_MS = 30_000
TOO_LONG: dict[str, tuple[str, float]] = {
    "the session": ("session_timeout_ms", 2.0),
    "max poll interval": ("max_poll_interval_ms", 2.0),
    "the transaction": ("transaction_timeout_ms", 2.0),
}
"""What passes meanwhile while the two others do not, and how soon (s)."""


@pytest.fixture
def strict_broker() -> Iterator[KafkaServer]:
    """A broker that looks for overdue transactions every half second, not every 10 s."""
    name = "transaction.abort.timed.out.transaction.cleanup.interval.ms"
    with KafkaServer({name: "500"}) as server:
        yield server


@pytest.mark.long
@pytest.mark.parametrize("what", TOO_LONG)
@pytest.mark.fault("frozen in a transaction, longer than {what}, alone")
def test_a_worker_frozen_too_long_goes_on_by_itself(
    strict_broker: KafkaServer, group: Callable[..., Group], fault: Fault, what: str, client: str
) -> None:
    if (what, client) == ("max poll interval", "librdkafka"):
        pytest.skip("librdkafka refuses a max poll interval below the session")
    name, seconds = TOO_LONG[what]
    times = dict.fromkeys((name for name, _ in TOO_LONG.values()), LONG_MS)
    workers = group(
        partitions=2, bootstrap=strict_broker.bootstrap, **times | {name: round(seconds * 1e3)}
    )
    worker = workers.join(SLOTCAST_FAILPOINT="after-send:30:SIGSTOP")
    workers.feed()

    freeze(workers, worker, fault)
    begun_s = time.monotonic()
    time.sleep(2 * seconds)
    wake(worker)
    process, woken_s = worker.process, time.monotonic()
    workers.until(
        lambda: process.poll() is not None or workers.watcher.first_after(0, woken_s),
        "the worker hangs",
    )
    if process.poll() is not None:  # who cannot know whether another has its name stops
        fault.note = f"it ended with exit code {process.poll()} and was started again"
        worker.start()
    fault.takeover_s = workers.outage_s(begun_s)

    assert process.poll() in (None, 1)
    workers.check()


@pytest.mark.fault("partitions lost and regained while frozen")
def test_partitions_lost_and_regained_in_one_stop_are_recovered(
    group: Callable[..., Group], fault: Fault
) -> None:
    """Another worker had them meanwhile and moved on; the old one's memory is void.

    It stops between two transactions: inside of one, the guest would end it and the worker too.
    """
    workers = group(partitions=2, session_timeout_ms=4_000)
    worker = workers.join("worker-0", SLOTCAST_FAILPOINT="after-commit:40:SIGSTOP")
    workers.until_shared()
    given = gained(worker)
    workers.feed()

    freeze(workers, worker, fault)
    guest = workers.join("worker-1")
    workers.until_live(guest, {0, 1})
    workers.flow_for(0.5)
    assert guest.stop() == 0
    begun_s = time.monotonic()
    wake(worker)
    workers.until_live(worker, {0, 1})
    fault.takeover_s = workers.outage_s(begun_s)

    assert gained(worker) == given + 2
    workers.check()


def freeze(workers: Group, worker: Serving, fault: Fault) -> None:
    """Wait until a failpoint has stopped this worker."""
    workers.until(lambda: is_stopped(worker), "the worker did not stop")
    fault.injected()


def wake(worker: Serving) -> None:
    """SIGCONT."""
    assert worker.process is not None
    worker.process.send_signal(signal.SIGCONT)
