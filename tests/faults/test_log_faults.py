"""Retention, operators and tools change the log or its offsets: noticed, loud, and by policy."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from urllib.error import HTTPError

import pytest

from tests.e2e.running import Serving
from tests.faults.group import Group, live_of
from tests.faults.oracle import proof
from tests.faults.outside import POLICY, Life, Outside, command
from tests.faults.report import Fault

NO_SNAPSHOT = {"SLOTCAST_STORE__SNAPSHOT_INTERVAL_S": "600"}


def readiness(worker: Serving) -> str:
    """What /v2/health/ready says, ready or not."""
    try:
        return json.dumps(worker.get("/v2/health/ready"))
    except HTTPError as error:
        return error.read().decode()


def decisions(worker: Serving, policy: str, cause: str) -> float:
    """How often this was decided."""
    label = f'slotcast_recovery_decisions_total{{cause="{cause}",policy="{policy}"}} '
    found = [line for line in worker.text("/metrics").splitlines() if line.startswith(label)]
    return float(found[0].removeprefix(label))


def until_stopped(workers: Group, worker: Serving, why: str, partition: int = 0) -> None:
    """Wait until the policy has stopped this partition, and check that everybody is told."""
    workers.until(lambda: why in readiness(worker), f"readiness does not say {why!r}")
    workers.until(lambda: partition not in live_of(worker), f"partition {partition} is live")
    assert why in worker.log_tail(200)


@pytest.mark.fault("retention has passed the watermark: {policy}")
@pytest.mark.parametrize("policy", ["cold", pytest.param("warm-up", marks=pytest.mark.long)])
def test_retention_that_passed_the_watermark_is_left_to_the_policy(
    group: Callable[..., Group], fault: Fault, policy: str
) -> None:
    workers = group(partitions=2)
    worker = workers.join_and_flow(**NO_SNAPSHOT)
    worker.kill()
    outside = Outside(worker)
    outside.note_ticks()
    committed = outside.committed(0)
    first = committed // 2

    worker.topics.trim(0, first)
    fault.injected()
    worker.start()
    until_stopped(workers, worker, f"but the log begins at {first}")
    workers.flow_for(0.5, {1})
    assert decisions(worker, "fail", "retention") == 1
    assert outside.committed(0) == committed
    worker.stop()
    worker.start(**{POLICY: policy})
    workers.flow_for(1)

    assert f"{policy} start" in readiness(worker)
    assert decisions(worker, policy, "retention") == 1
    assert f"{policy} start, memory begins anew" in worker.log_tail(200)
    origin = committed if policy == "cold" else first
    assert workers.feeder is not None
    end = len(workers.feeder.stop()[0])
    lives = {0: [Life(0, 0, committed), Life(origin, committed, end)]}
    workers.check(outside.expected(lives), proved=False)
    assert {p: report["faults"] for p, report in proof(worker).items()} == {0: {}}  # undecided


@pytest.mark.long
@pytest.mark.fault("retention has passed a worker that was frozen")
def test_retention_that_passes_a_frozen_worker_stops_that_partition_only(
    group: Callable[..., Group], fault: Fault
) -> None:
    workers = group(partitions=2)
    worker = workers.join_and_flow()
    outside = Outside(worker)

    assert worker.process is not None
    worker.process.send_signal(signal.SIGSTOP)
    time.sleep(2.0)  # shorter than the session, so that it keeps its partitions
    outside.note_ticks()
    assert workers.feeder is not None
    first = workers.feeder.fed[0] - 20
    worker.topics.trim(0, first)
    worker.process.send_signal(signal.SIGCONT)
    fault.injected()
    until_stopped(workers, worker, f"but the log begins at {first}")
    committed = outside.committed(0)  # what it had fetched before it was frozen is in it
    workers.flow_for(0.5, {1})
    worker.stop()
    worker.start(**{POLICY: "cold"})
    workers.flow_for(0.5)

    assert "offsets that nobody has read are gone" in worker.log_tail(200)
    end = len(workers.feeder.stop()[0])
    lives = {0: [Life(0, 0, committed), Life(first, first, end)]}
    workers.check(outside.expected(lives), proved=False)


@pytest.mark.fault("committed offsets expired, and the command that brings them back")
def test_expired_offsets_are_brought_back_by_the_command_that_the_worker_prints(
    group: Callable[..., Group], fault: Fault
) -> None:
    workers = group(partitions=2, session_timeout_ms=2_000)
    worker = workers.join_and_flow(**NO_SNAPSHOT)
    worker.kill()
    outside = Outside(worker)

    outside.expire_offsets()
    fault.injected()
    worker.start()
    assert workers.until_dead(worker) == 1
    assert "slotcast offsets restore" in worker.log_tail()
    outside.await_no_members()
    done = command("offsets", "restore", "--config", str(worker.config))
    assert done.returncode == 0, done.stderr
    worker.start()
    workers.flow_for(0.5)

    workers.check()


@pytest.mark.long
@pytest.mark.fault("offsets begin: refused while a worker runs, then a new memory")
def test_a_new_memory_begins_where_an_operator_says(
    group: Callable[..., Group], fault: Fault
) -> None:
    workers = group(partitions=1, session_timeout_ms=2_000)
    worker = workers.join_and_flow()
    line = ("offsets", "begin", "--config", str(worker.config))
    assert "stop all workers first" in command(*line).stderr

    worker.stop()
    outside = Outside(worker)
    outside.await_no_members()
    committed = outside.committed(0)
    done = command(*line)
    fault.injected()
    assert done.returncode == 0, done.stderr
    worker.start()
    workers.flow_for(0.5)

    assert workers.feeder is not None
    end = len(workers.feeder.stop()[0])
    lives = {0: [Life(0, 0, committed), Life(committed, committed, end)]}
    workers.check(outside.expected(lives), proved=False)


@pytest.mark.long
@pytest.mark.fault("an operator moved the offset {where}")
@pytest.mark.parametrize("where", ["back", "forward"])
def test_a_moved_offset_has_the_memory_that_the_log_gives(
    group: Callable[..., Group], fault: Fault, where: str
) -> None:
    """The snapshot tells where memory began, and rows beyond the offset are refused."""
    workers = group(partitions=2, session_timeout_ms=2_000)
    worker = workers.join_and_flow()
    worker.stop()
    outside = Outside(worker)
    outside.await_no_members()
    before = outside.committed(0)
    after = before - 40 if where == "back" else before + 40
    fed = workers.feeder.fed if workers.feeder else []
    workers.until(lambda: fed[0] > after, "not enough ticks")

    outside.move({0: after})
    fault.injected()
    worker.start()
    workers.flow_for(0.5)

    assert "was moved by hand" in worker.log_tail(200)
    assert workers.feeder is not None
    end = len(workers.feeder.stop()[0])
    lives = {0: [Life(0, 0, before), Life(0, after, end)]}
    workers.check(outside.expected(lives), proved=False)


@pytest.mark.long
@pytest.mark.fault("an operator moved the offset, and no snapshot tells the origin")
def test_a_moved_offset_without_a_snapshot_is_left_to_the_policy(
    group: Callable[..., Group], fault: Fault
) -> None:
    workers = group(partitions=2, session_timeout_ms=2_000)
    worker = workers.join_and_flow(**NO_SNAPSHOT)
    worker.kill()
    outside = Outside(worker)
    before = outside.committed(0)

    outside.move({0: before - 40})
    fault.injected()
    worker.start()
    until_stopped(workers, worker, f"offset {before - 40} was moved by hand")
    workers.flow_for(0.5, {1})
    worker.stop()
    worker.start(**{POLICY: "cold"})
    workers.flow_for(0.5)

    assert workers.feeder is not None
    end = len(workers.feeder.stop()[0])
    lives = {0: [Life(0, 0, before), Life(before - 40, before - 40, end)]}
    workers.check(outside.expected(lives), proved=False)
