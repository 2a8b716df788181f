"""Workers of one group as processes, with ticks that flow in and a reader of what comes out."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Collection, Sequence
from itertools import chain
from pathlib import Path

from slotcast.log.memory.log import MemoryBroker
from tests.e2e.running import Serving
from tests.e2e.streaming import Feeder, Onlooker, Watcher
from tests.faults.oracle import judge
from tests.faults.report import Fault
from tests.faults.ticks import Laps, Stream
from tests.servers import PATIENCE_S

PARTITIONS = 4
Make = Callable[[str | None], Serving]


class Group:
    """Workers of one group, and what goes in and comes out meanwhile."""

    def __init__(self, make: Make, fault: Fault, stream: Stream) -> None:
        self._make, self._stream, self._fault = make, stream, fault
        self._partitions = set(range(len(stream.ticks)))
        self.workers: list[Serving] = []
        self.feeder: Feeder | None = None

    def join(self, name: str | None = "worker-0", **environment: str) -> Serving:
        """Start another worker."""
        worker = self._make(name)
        self.workers.append(worker)
        worker.start(**environment)
        return worker

    def join_and_flow(self, name: str | None = "worker-0", **environment: str) -> Serving:
        """Start another worker, and let ticks flow for a moment."""
        worker = self.join(name, **environment)
        self.feed()
        self.flow_for(0.5)
        return worker

    def endless(self) -> None:
        """Let the ticks begin again where they end, at later times."""
        laps = [Laps(ticks) for ticks in self._stream.ticks]
        self._stream = self._stream._replace(ticks=laps)

    def until_shared(self) -> list[set[int]]:
        """Wait until every worker has its share and every partition is live; the shares."""

        def shared() -> bool:
            shares[:] = map(live_of, self.workers)
            return all(shares) and sorted(chain(*shares)) == sorted(self._partitions)

        shares: list[set[int]] = []
        self.until(shared, "not all partitions are live")
        return shares

    def feed(self, at_once: int = 4) -> None:
        """Let ticks flow once every worker has its share and every partition is live."""
        self.until_shared()
        self.watcher = Watcher(self.workers[0].kafka, len(self._partitions))
        self.feeder = Feeder(self.workers[0].kafka, self._stream.ticks, at_once)

    def close(self) -> None:
        if self.feeder:
            self.feeder.stop()
            self.watcher.stop()

    def until(
        self, condition: Callable[[], bool], complaint: str, patience_s: float = PATIENCE_S
    ) -> None:
        """Wait for this, and show the workers' logs if it does not come."""
        deadline = time.monotonic() + patience_s
        while not condition():
            ended = any(one.failure for one in self._onlookers())
            if ended or time.monotonic() > deadline:
                raise AssertionError(complaint + self.logs())
            time.sleep(0.02)

    def logs(self) -> str:
        """The last lines of every worker."""
        said = "".join(f"\n\n{w.folder.name}:\n{w.log_tail()}" for w in self.workers)
        return said if self.feeder is None else self._flow() + said

    def _flow(self) -> str:
        """What went in and came out."""
        assert self.feeder is not None
        seen = [0] * len(self._partitions)
        for one in self.watcher.seen:
            seen[one.partition] += 1
        ended = [
            f"\n{type(one).__name__} ended: {one.failure!r}"
            for one in self._onlookers()
            if one.failure
        ]
        return f"\nfed {self.feeder.fed}, seen {seen}" + "".join(ended)

    def _onlookers(self) -> Sequence[Onlooker]:
        return (self.feeder, self.watcher) if self.feeder else ()

    def until_live(self, worker: Serving, share: Collection[int] = ()) -> None:
        """Wait until this worker has a partition live, or just these."""
        self.until(
            lambda: live_of(worker) == share if share else bool(live_of(worker)),
            f"{worker.folder.name} does not get its partitions",
        )

    def until_dead(self, worker: Serving) -> int:
        """Wait until this worker has ended; its exit code."""
        assert worker.process is not None
        process = worker.process
        self.until(lambda: process.poll() is not None, f"{worker.folder.name} does not end")
        assert process.returncode is not None
        return process.returncode

    def until_killed(self, worker: Serving) -> None:
        """Wait until a failpoint has killed this worker."""
        assert self.until_dead(worker) == -signal.SIGKILL
        self._fault.injected()

    def flow_for(self, seconds: float, partitions: Collection[int] | None = None) -> None:
        """Wait until forecasts that are at least this much later are seen in all of these."""
        end_s = time.monotonic() + seconds
        wanted = self._partitions if partitions is None else set(partitions)
        self.until(
            lambda: all(self.watcher.first_after(p, end_s) for p in wanted),
            f"partitions {sorted(wanted)} do not go on",
        )

    def went_on_s(self, since_s: float, partitions: Collection[int] | None = None) -> float:
        """How long after `since_s` the last of these gave forecasts again (0.5 s late is none)."""
        wanted = self._partitions if partitions is None else partitions
        firsts = [self.watcher.first_after(p, since_s + 0.5) or since_s for p in wanted]
        return max(firsts) - since_s

    def outage_s(self, begun_s: float) -> float:
        """The longest silence of any partition since then, once all have gone on."""
        self.flow_for(max(1.0, begun_s + 1.0 - time.monotonic()))
        return self.still_s(self._partitions, begun_s, time.monotonic())

    def still_s(self, partitions: Collection[int], begin_s: float, end_s: float) -> float:
        """The longest silence of any of these within these times."""
        return max(self.watcher.longest_gap_s(p, begin_s, end_s) for p in partitions)

    def check(self, expected: MemoryBroker | None = None, *, proved: bool = True) -> None:
        """End the flow and let the oracle judge."""
        assert self.feeder is not None
        self.feeder.stop()
        try:
            judge(self._fault, self.workers[0], self.watcher, expected, proved=proved)
        except AssertionError as error:
            error.add_note(self.logs())
            raise


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
    """Whether the process is frozen by SIGSTOP."""
    assert worker.process is not None
    status = Path(f"/proc/{worker.process.pid}/stat").read_text()
    return status.rpartition(")")[2].split()[0] == "T"


def gained(worker: Serving) -> float:
    """How many partitions this worker was given so far; 0 if it does not answer."""
    return recoveries(worker, "gained")


def recoveries(worker: Serving, cause: str) -> float:
    """How often this worker began to recover a partition for this reason."""
    try:
        text = worker.text("/metrics")
    except OSError:
        return 0
    found = re.search(rf'recoveries_total\{{cause="{cause}"\}} (\S+)', text)
    assert found
    return float(found[1])


def lines(settings: dict[str, object]) -> Sequence[str]:
    """Settings as lines of a section."""
    return [f"{name} = {value!r}".replace("'", '"') for name, value in settings.items()]
