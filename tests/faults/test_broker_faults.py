"""The broker is killed, frozen or out of reach; when it is back, everything goes on."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.faults.group import Group
from tests.faults.proxy import ProxiedKafka, through
from tests.faults.report import Fault
from tests.servers import KafkaServer

SHORT_S, LONG_S = 3.0, 9.0
TIMES_MS = {"delivery_timeout_ms": 2_000, "session_timeout_ms": 6_000}
"""The shorter outage is longer than the first, the longer one longer than both."""


@pytest.mark.fault("broker killed and started again")
def test_a_broker_that_is_killed_does_not_show(
    own_broker: KafkaServer, group: Callable[..., Group], fault: Fault
) -> None:
    workers = group(partitions=2, bootstrap=own_broker.bootstrap, **TIMES_MS)
    workers.join_and_flow()

    begun_s = time.monotonic()
    own_broker.kill()
    fault.injected()
    own_broker.start()
    fault.takeover_s = workers.outage_s(begun_s)

    workers.check()


@pytest.mark.long
@pytest.mark.parametrize("seconds", [SHORT_S, LONG_S])
@pytest.mark.fault("broker frozen for {seconds} s")
def test_a_broker_that_freezes_does_not_show(
    own_broker: KafkaServer, group: Callable[..., Group], fault: Fault, seconds: float
) -> None:
    workers = group(partitions=2, bootstrap=own_broker.bootstrap, **TIMES_MS)
    workers.join_and_flow()

    begun_s = time.monotonic()
    own_broker.suspend()
    fault.injected()
    time.sleep(seconds)
    own_broker.resume()
    fault.takeover_s = workers.outage_s(begun_s)

    workers.check()


@pytest.mark.long
@pytest.mark.parametrize("seconds", [SHORT_S, LONG_S])
@pytest.mark.fault("broker out of a worker's reach for {seconds} s")
def test_a_broker_out_of_reach_does_not_show(
    proxied: ProxiedKafka, group: Callable[..., Group], fault: Fault, seconds: float
) -> None:
    """One worker sees no broker; the other one sees it all the time."""
    workers = group(bootstrap=proxied.bootstrap, **TIMES_MS)
    workers.join("worker-0", **through(proxied))
    workers.join_and_flow("worker-1")

    begun_s = time.monotonic()
    proxied.proxy.reachable = False
    proxied.proxy.cut_all()
    fault.injected()
    time.sleep(seconds)
    proxied.proxy.reachable = True
    fault.takeover_s = workers.outage_s(begun_s)

    workers.check()
