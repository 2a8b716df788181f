"""Replies of the broker that are lost, late or cut off, and requests that never arrive.

Without an answer nobody knows whether a transaction is committed. What was answered late was done
all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import get_args

import pytest

from tests.faults.group import Group
from tests.faults.proxy import Asked, How, ProxiedKafka, through
from tests.faults.report import Fault


def cases(
    *asked: str, hows: Sequence[How] = get_args(How), short: Sequence[str] = ()
) -> list[object]:
    """Each of these in each of these ways; `short` are for `make test` too."""
    return [
        pytest.param(what, how, marks=() if f"{what} {how}" in short else pytest.mark.long)
        for what in asked
        for how in hows
    ]


@pytest.fixture
def workers(proxied: ProxiedKafka, group: Callable[..., Group]) -> Group:
    """Workers that see the broker through the proxy, and are less patient than by default."""
    return group(
        partitions=2,
        bootstrap=proxied.bootstrap,
        delivery_timeout_ms=2_000,
        transaction_timeout_ms=4_000,
        session_timeout_ms=4_000,
    )


@pytest.mark.parametrize(
    ("asked", "how"),
    cases(
        *("END_TXN", "PRODUCE", "TXN_OFFSETS", "ADD_OFFSETS"),
        short=("END_TXN lost", "END_TXN cut"),
    ),
)
@pytest.mark.fault("answer to {asked}: {how}")
def test_an_answer_that_does_not_come_in_the_cycle_is_never_guessed(
    workers: Group, proxied: ProxiedKafka, fault: Fault, asked: str, how: How
) -> None:
    workers.join_and_flow(**through(proxied))

    fault.takeover_s = 0.0
    for skip in (5, 6, 7):
        rule = proxied.proxy.break_replies(Asked[asked], how, skip)
        workers.until(rule.done.is_set, f"{asked} is never asked")
        fault.takeover_s = max(fault.takeover_s, workers.outage_s(time.monotonic()))
        fault.injected(rule.hits)

    workers.check()


@pytest.mark.parametrize(
    ("asked", "how"),
    cases("INIT_PRODUCER_ID", "OFFSET_FETCH", "FETCH", "JOIN_GROUP", hows=("lost", "cut")),
)
@pytest.mark.fault("answer to {asked} in recovery: {how}")
def test_an_answer_that_does_not_come_in_recovery_does_not_show(
    workers: Group, proxied: ProxiedKafka, fault: Fault, asked: str, how: How
) -> None:
    worker = workers.join_and_flow(**through(proxied))

    worker.kill()
    begun_s = time.monotonic()
    rule = proxied.proxy.break_replies(Asked[asked], how)
    worker.start(**through(proxied))
    workers.until(rule.done.is_set, f"{asked} is never asked")
    fault.takeover_s = workers.outage_s(begun_s)
    fault.injected(rule.hits)

    workers.check()


@pytest.mark.long
@pytest.mark.fault("all connections cut, again and again")
def test_cut_connections_do_not_show(workers: Group, proxied: ProxiedKafka, fault: Fault) -> None:
    workers.join_and_flow(**through(proxied))

    fault.takeover_s = 0.0
    for _ in range(6):
        begun_s = time.monotonic()
        proxied.proxy.cut_all()
        fault.injected()
        fault.takeover_s = max(fault.takeover_s, workers.outage_s(begun_s))

    workers.check()
