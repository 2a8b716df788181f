"""Several real workers of one group: killed, stopped, restarted, coming and going."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable

import pytest

from tests.e2e.running import Serving
from tests.faults.group import Group, gained, is_stopped, live_of
from tests.faults.report import Fault


@pytest.mark.both
@pytest.mark.fault("worker killed inside an open transaction, another takes over")
def test_the_survivor_of_a_kill_inside_a_transaction_takes_over(
    group: Callable[..., Group], fault: Fault
) -> None:
    workers = group(session_timeout_ms=6_000, transaction_timeout_ms=10_000)
    victim = workers.join("worker-0", SLOTCAST_FAILPOINT="after-offsets:40")
    survivor = workers.join("worker-1")
    orphans, own = workers.until_shared()
    workers.feed()

    workers.until_killed(victim)
    died_s = time.monotonic()
    workers.flow_for(1, orphans)
    workers.flow_for(1)

    fault.takeover_s = workers.went_on_s(died_s, orphans)
    fault.still_s = workers.still_s(own, died_s - 1, died_s + fault.takeover_s + 1)
    fault.note = re.findall(r"ended the open transaction .*|$", survivor.log_tail(100))[0]
    workers.check()
    assert survivor.stop() == 0


@pytest.mark.parametrize("point", ["begin", pytest.param("after-send", marks=pytest.mark.long)])
@pytest.mark.fault("worker frozen at {point}, longer than every timeout, then woken")
def test_a_worker_frozen_past_every_timeout_publishes_nothing_when_it_wakes(
    group: Callable[..., Group], fault: Fault, point: str
) -> None:
    """Before the broker knows of the transaction only the membership refuses it."""
    workers = group(
        session_timeout_ms=2_000, transaction_timeout_ms=4_000, max_poll_interval_ms=4_000
    )
    zombie = workers.join("worker-0", SLOTCAST_FAILPOINT=f"{point}:60:SIGSTOP")
    workers.join("worker-1")
    workers.until_shared()
    given = gained(zombie)
    workers.feed()

    workers.until(lambda: is_stopped(zombie), "the worker did not stop")
    fault.injected()
    stopped_s = time.monotonic()
    workers.flow_for(5)
    fault.takeover_s = workers.went_on_s(stopped_s)
    zombie_process = zombie.process
    assert zombie_process is not None
    zombie_process.send_signal(signal.SIGCONT)
    workers.until(
        lambda: zombie_process.poll() is not None or gained(zombie) > given, "the zombie hangs"
    )
    workers.flow_for(1)

    ended = zombie_process.poll()
    fault.note = "it joined anew" if ended is None else f"it ended with exit code {ended}"
    assert ended in (None, 1)
    workers.check()


@pytest.mark.fault("rolling restart")
def test_a_rolling_restart_moves_no_partition(group: Callable[..., Group], fault: Fault) -> None:
    workers = group(session_timeout_ms=120_000, max_poll_interval_ms=120_000)
    pair = [workers.join("worker-0"), workers.join("worker-1")]
    shares = workers.until_shared()
    workers.feed()
    fault.takeover_s = fault.still_s = 0.0

    for restarted, other, share in ((*pair, shares[0]), (*pair[::-1], shares[1])):
        before, begun_s = gained(other), time.monotonic()
        assert restarted.stop() == 0
        fault.injected()
        restarted.start()
        workers.until_live(restarted, share)
        now_s = time.monotonic()
        fault.takeover_s = max(fault.takeover_s, now_s - begun_s)
        fault.still_s = max(fault.still_s, workers.still_s(live_of(other), begun_s, now_s))
        assert gained(other) == before

    assert [live_of(worker) for worker in pair] == shares
    workers.check()


@pytest.mark.long
@pytest.mark.fault("workers come and go")
def test_workers_that_come_and_go_do_not_show(group: Callable[..., Group], fault: Fault) -> None:
    workers = group(session_timeout_ms=2_000, transaction_timeout_ms=4_000)
    first = workers.join("worker-0")
    workers.feed()

    for leave in (Serving.stop, Serving.kill, Serving.stop):
        guest = workers.join(None)
        workers.until_live(guest)
        workers.flow_for(0.3)
        leave(guest)
        fault.injected()
        workers.flow_for(0.3)

    fault.note = f"{gained(first):.0f} times a partition came to the first worker"
    workers.check()
