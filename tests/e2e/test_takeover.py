"""Several real workers of one group: killed, stopped, restarted, coming and going.

Whatever they do, every tick has exactly one committed forecast, with the bytes of an uninterrupted
run, and a reader of committed records never sees anything else. The times are printed, not
asserted: they depend on the machine.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

from tests.e2e.running import PRICE, Serving, market_ticks, reference, schema_of
from tests.e2e.streaming import Feeder, Watcher
from tests.servers import Broker

PARTITIONS = 4
PATIENCE_S = 40


class Group:
    """Workers of one group, and what goes in and comes out meanwhile."""

    def __init__(self, make: Callable[[str | None, str], Serving], **times_ms: int) -> None:
        self._make = make
        self._times = "\n".join(f"{name}_ms = {ms}" for name, ms in times_ms.items())
        self.workers: list[Serving] = []
        self.feeder: Feeder | None = None

    def join(self, name: str | None, **environment: str) -> Serving:
        """Start another worker."""
        worker = self._make(name, self._times)
        self.workers.append(worker)
        worker.start(**environment)
        return worker

    def feed(self) -> None:
        """Let ticks flow once every worker has its share and every partition is live."""
        self.until(
            lambda: all(map(live_of, self.workers)) and self.live() == set(range(PARTITIONS)),
            "not all partitions are live",
        )
        self.watcher = Watcher(self.workers[0].kafka, PARTITIONS)
        self.feeder = Feeder(self.workers[0].kafka, market_ticks(24_000, PARTITIONS))

    def close(self) -> None:
        if self.feeder:
            self.feeder.stop()
            self.watcher.stop()

    def live(self) -> set[int]:
        """Partitions that some worker has live."""
        return set().union(*(live_of(worker) for worker in self.workers))

    def until(self, condition: Callable[[], bool], complaint: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                tails = [f"\n\n{w.folder.name}:\n{w.log_tail()}" for w in self.workers]
                raise AssertionError(complaint + "".join(tails))
            time.sleep(0.02)

    def until_live(self, worker: Serving, share: Collection[int] = ()) -> None:
        """Wait until this worker has a partition live, or just these."""
        self.until(
            lambda: live_of(worker) == share if share else bool(live_of(worker)),
            f"{worker.folder.name} does not get its partitions",
        )

    def flow_for(self, seconds: float, partitions: Collection[int] = range(PARTITIONS)) -> None:
        """Wait until forecasts that are at least this much later are seen in all of these."""
        end_s = time.monotonic() + seconds
        self.until(
            lambda: all(self.watcher.first_after(p, end_s) for p in partitions),
            f"partitions {sorted(partitions)} do not go on",
        )

    def check(self) -> None:
        """Exactly one forecast for every tick, in order, with the bytes of the reference."""
        assert self.feeder is not None
        ticks = self.feeder.stop()
        expected, _ = reference(schema_of(PRICE), ticks)
        self.until(
            lambda: len(self.watcher.seen) >= sum(map(len, expected)), "forecasts are missing"
        )
        self.watcher.stop()
        for partition in range(PARTITIONS):
            found = self.workers[0].forecasts(partition)
            wanted = [(f.key, f.value) for f in expected[partition]]
            assert [(record.key, record.value) for record in found] == wanted
            seen = [s.value for s in self.watcher.seen if s.partition == partition]
            assert seen == [value for _, value in wanted], "a reader saw something else meanwhile"
        assert sum(map(len, ticks)) > 500


def live_of(worker: Serving) -> set[int]:
    """The partitions that this worker has live; none if it does not answer."""
    if worker.process is None or worker.process.poll() is not None or is_stopped(worker):
        return set()
    try:
        found = worker.get("/summary")["partitions"]
    except OSError:
        return set()
    return {p["partition"] for p in found if p["phase"] == "live"}


def is_stopped(worker: Serving) -> bool:
    assert worker.process is not None
    status = Path(f"/proc/{worker.process.pid}/stat").read_text()
    return status.rpartition(")")[2].split()[0] == "T"


def say(what: str) -> None:
    """For the reader of `pytest -s`."""
    print(what)  # noqa: T201


def gained(worker: Serving) -> float:
    """How many partitions this worker was given so far; 0 if it does not answer."""
    try:
        text = worker.text("/metrics")
    except OSError:
        return 0
    found = re.search(r'recoveries_total\{cause="gained"\} (\S+)', text)
    assert found
    return float(found[1])


@pytest.fixture
def group(
    kafka: Broker, redis_url: str, redis_prefix: str, tmp_path: Path
) -> Iterator[Callable[..., Group]]:
    groups: list[Group] = []
    made: list[Serving] = []

    def worker(name: str | None, times: str) -> Serving:
        folder = tmp_path / str(len(made))
        places = (folder, kafka.bootstrap, redis_url, redis_prefix)
        made.append(Serving(*places, PRICE, PARTITIONS, instance_id=name, kafka=times))
        return made[-1]

    def make(**times_ms: int) -> Group:
        groups.append(Group(worker, **times_ms))
        return groups[-1]

    yield make
    for started in groups:
        started.close()
    for one in made:
        one.kill()
        one.topics.close()


def test_the_survivor_of_a_kill_inside_a_transaction_takes_over(
    group: Callable[..., Group],
) -> None:
    workers = group(session_timeout=6_000, transaction_timeout=10_000)
    victim = workers.join("worker-0", SLOTCAST_FAILPOINT="after-offsets:40")
    survivor = workers.join("worker-1")
    workers.feed()
    orphans, own = live_of(victim), live_of(survivor)

    assert victim.process is not None
    assert victim.process.wait(PATIENCE_S) == -signal.SIGKILL
    died_s = time.monotonic()
    workers.flow_for(1, orphans)
    workers.flow_for(1)

    watcher = workers.watcher
    taken_s = max(watcher.first_after(p, died_s + 1) or 0 for p in orphans)
    gap_s = max(watcher.longest_gap_s(p, died_s - 1, taken_s + 1) for p in own)
    say(
        f"partitions {sorted(orphans)} went on {taken_s - died_s:.1f} s after the kill,"
        f" {sorted(own)} stood still for at most {gap_s:.1f} s"
    )
    say(re.findall(r"ended the open transaction .*|$", survivor.log_tail(100))[0])
    workers.check()
    assert survivor.stop() == 0


@pytest.mark.parametrize("point", ["begin", "after-send"])
def test_a_worker_frozen_past_every_timeout_publishes_nothing_when_it_wakes(
    group: Callable[..., Group], point: str
) -> None:
    """Before the broker knows of the transaction only the membership refuses it."""
    workers = group(session_timeout=2_000, transaction_timeout=4_000, max_poll_interval=4_000)
    zombie = workers.join("worker-0", SLOTCAST_FAILPOINT=f"{point}:20:SIGSTOP")
    workers.join("worker-1")
    workers.feed()
    given = gained(zombie)

    workers.until(lambda: is_stopped(zombie), "the worker did not stop")
    workers.flow_for(5)
    zombie_process = zombie.process
    assert zombie_process is not None
    zombie_process.send_signal(signal.SIGCONT)
    workers.until(
        lambda: zombie_process.poll() is not None or gained(zombie) > given, "the zombie hangs"
    )
    workers.flow_for(1)

    ended = zombie_process.poll()
    say("the zombie joined anew" if ended is None else f"the zombie ended with exit code {ended}")
    assert ended in (None, 1)
    workers.check()


def test_a_rolling_restart_moves_no_partition(group: Callable[..., Group]) -> None:
    workers = group(session_timeout=20_000)
    pair = [workers.join("worker-0"), workers.join("worker-1")]
    workers.feed()
    shares = [live_of(worker) for worker in pair]

    for restarted, other, share in ((*pair, shares[0]), (*pair[::-1], shares[1])):
        before, begun_s = gained(other), time.monotonic()
        assert restarted.stop() == 0
        restarted.start()
        workers.until_live(restarted, share)
        own = live_of(other)
        gap_s = max(workers.watcher.longest_gap_s(p, begun_s, time.monotonic()) for p in own)
        back_s = time.monotonic() - begun_s
        say(f"back after {back_s:.1f} s, the other stood still for at most {gap_s:.1f} s")
        assert gained(other) == before

    assert [live_of(worker) for worker in pair] == shares
    workers.check()


def test_workers_that_come_and_go_do_not_show(group: Callable[..., Group]) -> None:
    workers = group(session_timeout=2_000, transaction_timeout=4_000)
    workers.join("worker-0")
    workers.feed()

    for leave in (Serving.stop, Serving.kill, Serving.stop):
        guest = workers.join(None)
        workers.until_live(guest)
        workers.flow_for(0.3)
        leave(guest)
        workers.flow_for(0.3)

    say(f"{gained(workers.workers[0]):.0f} times a partition came to the first worker")
    workers.check()
