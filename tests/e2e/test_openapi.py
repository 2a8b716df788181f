"""Requests made up from the OpenAPI document of a running service: each is answered as it says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from prometheus_client import CollectorRegistry
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig

from slotcast.api.app import create_app
from slotcast.bootstrap import Service, embedded
from slotcast.feeds.simulator import Market, encode
from slotcast.metrics import Metrics
from slotcast.run_settings import market_settings
from slotcast.settings import HttpSettings
from tests.unit.fake_readings import FakeReadings, alone

TOKEN = "open-sesame"
EXAMPLES = 25
REFUSALS = {"negative_data_rejection": {"expected-statuses": ["401", "404", "405", "413", "422"]}}
"""Of what the document forbids. 10,001 long names are too large before anybody counts them."""
DOCUMENT = create_app(
    FakeReadings([]), Metrics(CollectorRegistry()), HttpSettings(), alone()
).openapi()
OPERATIONS = {
    (method.upper(), path): facts
    for path, methods in DOCUMENT["paths"].items()
    for method, facts in methods.items()
}


def takes(facts: dict[str, Any]) -> bool:
    """Whether a request can be wrong: any text is right in a path, or in a header."""
    texts = {"path", "header"}
    return "requestBody" in facts or any(
        parameter["in"] not in texts for parameter in facts.get("parameters", ())
    )


class Running(NamedTuple):
    """A service with ticks, and a client with its token."""

    service: Service
    client: requests.Session


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    http = HttpSettings(port=0, token=TOKEN, reset_timeout_s=2)
    given = market_settings(port=0, slots=16).model_copy(update={"http": http})
    service, log = embedded(given, tmp_path_factory.mktemp("data"), partitions=2)
    simulated = Market(8)
    keys, values = encode(simulated.next(400), simulated.names)
    log.feed(0, keys, values, [round(time.time() * 1e3)] * len(keys))
    with service, requests.Session() as client:
        client.trust_env = False
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        until_ready(service, client)
        yield Running(service, client)


def until_ready(service: Service, client: requests.Session) -> None:
    deadline = time.monotonic() + 60
    while client.get(f"{service.api.url}/summary").json()["ticks"] < 400:
        assert time.monotonic() < deadline, service.worker.failure
        time.sleep(0.05)


@pytest.fixture(scope="module")
def document(running: Running) -> schemathesis.BaseSchema:
    answer = running.client.get(f"{running.service.api.url}/openapi.json")
    running.service.api._server._app.state.events.close()  # streams end after their first event
    config = SchemathesisConfig.from_dict({"checks": REFUSALS})
    return schemathesis.openapi.from_dict(answer.json(), config=config)


def test_the_operations_are_those_of_the_running_service(
    document: schemathesis.BaseSchema,
) -> None:
    served = [(o.ok().method.upper(), o.ok().path) for o in document.get_all_operations()]

    assert sorted(served) == sorted(OPERATIONS)


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [(*one, GenerationMode.POSITIVE) for one in OPERATIONS]
    + [(*one, GenerationMode.NEGATIVE) for one, facts in OPERATIONS.items() if takes(facts)],
)
def test_every_operation_answers_as_the_document_says(
    running: Running,
    document: schemathesis.BaseSchema,
    method: str,
    path: str,
    mode: GenerationMode,
) -> None:
    """No 5xx, no status, type or field that it lacks; what it forbids is refused, and no more."""

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=document[path][method].as_strategy(generation_mode=mode))
    def answers(case: schemathesis.Case) -> None:
        if mode is GenerationMode.POSITIVE and isinstance(case.body, dict):
            # How many there are is not in the document.
            partitions = case.body.get("partitions") or ()
            assume(all(type(p) is int and p in (0, 1) for p in partitions))
        case.call_and_validate(base_url=running.service.api.url, session=running.client, timeout=20)

    answers()
