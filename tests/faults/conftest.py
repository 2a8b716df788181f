"""The frame of the fault suite. `make faults` runs all of it, `make test` what is not `long`.

To add a fault, write a test that

- has a name for its row: `@pytest.mark.fault("Redis: {how}")`; parameters of the test fill in;
- makes workers: `workers = group(partitions=2, session_timeout_ms=2_000)`, then
  `workers.join("worker-0")` starts one and `workers.feed()` lets ticks flow and a reader read;
- breaks something, and counts that: `fault.injected()`;
- ends with `workers.check()`, the oracle (`tests.faults.oracle`).

`fault.takeover_s`, `fault.still_s` and `fault.note` show in the table and are never asserted. What
takes more than some 10 s is `@pytest.mark.long`; every test runs for both clients, the second one
as `long` unless the test has `@pytest.mark.both`, and not at all with `@pytest.mark.one_client`.
A test that asks for `form` runs for every record format, those after JSON as `long`, and hands it
to `group`, for whose arguments see below. A server of a test's own is asked for before `group`, so
that it outlives the workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from slotcast.bootstrap import prepare
from slotcast.settings import Settings
from slotcast_models.schema import RecordFormat
from tests.e2e.running import Serving
from tests.faults.group import PARTITIONS, Group, lines
from tests.faults.proxy import ProxiedKafka
from tests.faults.report import ROW, Fault
from tests.faults.ticks import stream_in
from tests.formats import FORMATS
from tests.servers import Broker, KafkaServer, RedisServer

CLIENTS = ("kafka-python", "librdkafka")
FAULT = pytest.StashKey[Fault]()
HERE = Path(__file__).parent


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test with a worker runs once for every client, and one with a format for each."""
    if "client" in metafunc.fixturenames:
        both = metafunc.definition.get_closest_marker("both")
        first, *others = CLIENTS
        if metafunc.definition.get_closest_marker("one_client"):
            others = []
        marks = () if both else (pytest.mark.long,)
        found = [first, *(pytest.param(other, marks=marks) for other in others)]
        metafunc.parametrize("client", found)
    if "form" in metafunc.fixturenames:
        first, *others = FORMATS
        found = [first, *(pytest.param(other, marks=pytest.mark.long) for other in others)]
        metafunc.parametrize("form", found)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here is a named fault."""
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("fault") is None:
            raise pytest.UsageError(f"{item.nodeid} has no @pytest.mark.fault(NAME)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Any:
    """Note what came of it, and hand it to the process that prints the table."""
    report = yield
    fault = item.stash.get(FAULT, None)
    if fault is None:
        return report
    if call.when == "call" or report.outcome == "failed":
        fault.result = report.outcome
    if call.when == "teardown":
        report.user_properties.append((ROW, asdict(fault)))
    return report


@pytest.fixture
def fault(request: pytest.FixtureRequest) -> Fault:
    """The row of this test."""
    (name,) = request.node.get_closest_marker("fault").args
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    found = Fault(name.format(**parameters), parameters.get("client", "-"))
    request.node.stash[FAULT] = found
    return found


@pytest.fixture(scope="session")
def compiled() -> None:
    """The first start of a worker need not compile."""
    prepare(Settings())


@pytest.fixture
def own_broker() -> Iterator[KafkaServer]:
    """A Kafka of this test's own, to be broken."""
    with KafkaServer() as server:
        yield server


@pytest.fixture(scope="module")
def proxied() -> Iterator[ProxiedKafka]:
    """A broker behind a proxy, for the tests of a module."""
    with ProxiedKafka() as server:
        yield server


@pytest.fixture
def own_store() -> Iterator[RedisServer]:
    """A Redis of this test's own, to be broken."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def group(
    kafka: Broker,
    redis_url: str,
    redis_prefix: str,
    tmp_path: Path,
    client: str,
    fault: Fault,
    compiled: None,
) -> Iterator[Callable[..., Group]]:
    """`group(partitions=4, bootstrap=..., redis=..., delivery=..., form=..., **settings)`.

    For `join` to use; `settings` are of `[kafka]`. Without the two addresses workers use the
    servers of all tests.
    """
    groups: list[Group] = []
    made: list[Serving] = []

    def make(
        partitions: int = PARTITIONS,
        bootstrap: str = kafka.bootstrap,
        redis: str = redis_url,
        delivery: str = "exactly-once",
        form: RecordFormat = "json",
        **settings: object,
    ) -> Group:
        flowing = stream_in(form, partitions)
        fault.source = flowing.source
        if client != CLIENTS[0]:
            settings["client"] = client

        def worker(name: str | None) -> Serving:
            made.append(
                Serving(
                    tmp_path / str(len(made)),
                    bootstrap,
                    redis,
                    redis_prefix,
                    flowing.schema,
                    partitions,
                    delivery=delivery,
                    instance_id=name,
                    kafka="\n".join(lines(settings)),
                )
            )
            return made[-1]

        groups.append(Group(worker, fault, flowing))
        return groups[-1]

    yield make
    for started in groups:
        started.close()
    for one in made:
        one.kill()
        one.topics.close()
