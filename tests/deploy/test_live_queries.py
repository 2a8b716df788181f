"""Every query of the dashboards, the alert rules and the docs, asked of a real Prometheus.

It scrapes a real worker under load, at the pace and with the rules of the stack.
"""

from __future__ import annotations

import math
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slotcast.bootstrap import prepare
from slotcast.feeds.simulator import Market, encode
from tests.deploy.files import ROOT
from tests.deploy.prometheus import CONFIG, PrometheusServer
from tests.deploy.queries import (
    ALERTS,
    DASHBOARDS,
    Query,
    alert_queries,
    other_queries,
    panel_queries,
    selector_of,
    selectors,
)
from tests.e2e.running import PRICE, Serving
from tests.servers import Broker

SCRAPE_S = int(CONFIG["global"]["scrape_interval"].removesuffix("s"))
PARTITIONS = 2
VARIABLES = {
    item["name"]: item["allValue"] if item["includeAll"] else item["current"]["value"]
    for dashboard in DASHBOARDS.values()
    for item in dashboard["templating"]["list"]
    if item["type"] != "datasource"
} | {"__rate_interval": f"{4 * SCRAPE_S}s"}
"""As Grafana fills them before anybody has chosen."""


class Load:
    """Ticks of 40 instruments, stamped as they are sent, and records that are none."""

    def __init__(self, worker: Serving) -> None:
        self._worker, self._done = worker, threading.Event()
        self._thread = threading.Thread(target=self._send, name="load")
        self._thread.start()

    def _send(self) -> None:
        market = Market(40)
        while not self._done.wait(0.1):
            keys, values = encode(market.next(200), market.names)
            stamp_ms = round(time.time() * 1e3)
            for partition in range(PARTITIONS):
                mine = [
                    (key, value, stamp_ms, None)
                    for key, value in zip(keys, values, strict=True)
                    if sum(key) % PARTITIONS == partition
                ]
                self._worker.topics.feed(partition, [*mine, (b"A", b"{", stamp_ms, None)])

    def close(self) -> None:
        """Send no more."""
        self._done.set()
        self._thread.join()


@pytest.fixture(scope="module")
def prometheus(
    kafka: Broker, _redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrometheusServer]:
    """It has scraped a worker under load for a rate's window, and judged every rule."""
    folder: Path = tmp_path_factory.mktemp("worker")
    prefix = f"test-{uuid.uuid4().hex[:8]}"
    worker = Serving(folder, kafka.bootstrap, _redis_url, prefix, PRICE, PARTITIONS)
    load = None
    try:
        prepare(worker.settings)  # else its first minute may be spent compiling
        worker.start(SLOTCAST_METRICS__INSTRUMENTS="30")
        load = Load(worker)
        with PrometheusServer([worker.url.removeprefix("http://")]) as server:
            skill = "slotcast_skill > -Inf and on () count_over_time(up[5m]) >= 4"
            until(lambda: bool(server.values(skill)), "no settled instrument was scraped", worker)
            until(lambda: set(health(server).values()) == {"ok"}, "unjudged rules", worker)
            yield server
    finally:
        if load:
            load.close()
        worker.kill()
        worker.topics.close()


def until(done: Callable[[], bool], complaint: str, worker: Serving) -> None:
    deadline = time.monotonic() + 90
    while not done():
        assert time.monotonic() < deadline, f"{complaint}:\n{worker.log_tail()}"
        time.sleep(0.5)


def health(server: PrometheusServer) -> dict[str, str]:
    """Alert -> whether Prometheus could evaluate it."""
    groups = server.ask("rules")["groups"]
    return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}


def filled(expression: str) -> str:
    """With the variables of the dashboards in their places."""
    names = sorted(VARIABLES, key=len, reverse=True)
    return re.sub(rf"\$({'|'.join(names)})\b", lambda found: VARIABLES[found[1]], expression)


def by_place(queries: list[Query]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("query", queries, ids=lambda query: query.place)


@by_place(panel_queries())
def test_a_query_of_a_panel_returns_numbers(prometheus: PrometheusServer, query: Query) -> None:
    found = prometheus.values(filled(query.expression))

    assert [value for value in found if math.isfinite(value)], (query.expression, found)


@by_place([*alert_queries(), *other_queries()])
def test_every_series_that_is_selected_elsewhere_exists(
    prometheus: PrometheusServer, query: Query
) -> None:
    prometheus.values(filled(query.expression))  # that it is silent, or finds nothing, is fine

    chosen = selectors(query.expression)
    assert chosen
    assert not [one for one in chosen if not prometheus.values(filled(one))]


def test_every_variable_has_something_to_choose_from(prometheus: PrometheusServer) -> None:
    for dashboard in DASHBOARDS.values():
        for item in dashboard["templating"]["list"]:
            if item["type"] == "query":
                label = item["definition"].rpartition(",")[2].strip(" )")
                selector = filled(selector_of(item["definition"]))
                assert prometheus.ask(f"label/{label}/values", **{"match[]": selector}), label


def test_prometheus_judges_every_rule_and_a_healthy_worker_wakes_nobody_up(
    prometheus: PrometheusServer,
) -> None:
    firing = [
        one["labels"] for one in prometheus.ask("alerts")["alerts"] if one["state"] == "firing"
    ]

    assert health(prometheus) == {alert["alert"]: "ok" for alert in ALERTS}
    assert not firing


def test_the_queries_in_the_docs_return_numbers(prometheus: PrometheusServer) -> None:
    block = re.search(r"(?ms)^```\n(.*?)^```", (ROOT / "docs/metrics.md").read_text())
    assert block
    queries = block[1].splitlines()

    assert len(queries) == 3
    for query in queries:
        assert [value for value in prometheus.values(query) if math.isfinite(value)], query
