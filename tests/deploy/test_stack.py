"""The stack runs, natively, from the files that Compose would give to containers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from slotcast.bootstrap import prepare
from slotcast.settings import Settings
from tests.deploy.files import DEPLOY, WORKERS
from tests.deploy.prometheus import Asked
from tests.deploy.queries import RULES
from tests.deploy.stack import Stack

PATIENCE_S = 90.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    prepare(Settings.load(DEPLOY / "slotcast/slotcast.toml"))
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


def until(stack: Stack, condition: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"{complaint}\n{stack.log_tails()}"
        time.sleep(0.1)


def live(stack: Stack, name: str) -> set[int]:
    """The partitions that a worker has live."""
    found = stack.services[name].get("/summary")["partitions"]
    return {one["partition"] for one in found if one["phase"] == "live"}


def prometheus(stack: Stack) -> Asked:
    """The stack's own."""
    service = stack.services["prometheus"]
    assert isinstance(service, Asked)
    return service


def asked(stack: Stack, query: str) -> dict[str, float]:
    """Instance -> value of an instant query."""
    found = prometheus(stack).ask("query", query=query)["result"]
    return {one["metric"]["instance"]: float(one["value"][1]) for one in found}


def test_ticks_flow_through_both_workers_and_prometheus_sees_it(stack: Stack) -> None:
    def shares() -> list[set[int]]:
        return [live(stack, name) for name in WORKERS]

    until(stack, lambda: list(map(len, shares())) == [2, 2], "not two partitions each")
    assert set.union(*shares()) == {0, 1, 2, 3}

    instances = {stack.services[name].url.removeprefix("http://") for name in WORKERS}
    query = "slotcast_forecasts_total > 100"
    until(stack, lambda: set(asked(stack, query)) == instances, "not every worker forecasts")
    assert asked(stack, "up") == dict.fromkeys(instances, 1.0)


def test_the_workers_know_each_other_under_their_advertised_addresses(stack: Stack) -> None:
    def listed() -> dict[str, Any]:
        return stack.services["worker-1"].get("/workers")

    until(stack, lambda: not listed()["unassigned"], "a partition is nobody's")

    urls = {one["worker"]: one["url"] for one in listed()["workers"]}
    assert urls == {name: stack.services[name].url for name in WORKERS}


def test_prometheus_has_read_the_alert_rules(stack: Stack) -> None:
    groups = prometheus(stack).ask("rules")["groups"]

    assert {group["name"] for group in groups} == {group["name"] for group in RULES["groups"]}


def test_snapshots_are_in_a_store_that_is_as_its_file_says(stack: Stack) -> None:
    with redis.Redis(port=stack.places.ports["redis"]) as store:
        until(stack, lambda: len(store.keys("slotcast:*:header")) == 4, "no snapshots")

        assert store.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert store.info("persistence")["aof_enabled"] == 1


def test_the_workers_end_within_the_grace_of_the_engine(stack: Stack) -> None:
    assert stack.services["producer"].end() == 0

    assert [stack.services[name].end() for name in WORKERS] == [0, 0]
