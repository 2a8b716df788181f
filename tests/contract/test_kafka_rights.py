"""A service that may read the tick topic and not write to it, on a broker that checks rights."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ResourcePattern,
    ResourceType,
)

from slotcast.api import problems
from slotcast.bootstrap import Service
from slotcast.log.kafka.log import KafkaLog
from slotcast.log.port import AppendForbidden
from slotcast.settings import HttpSettings, KafkaSettings, Settings
from slotcast.store.memory import MemoryStore
from tests.secured import create_acls
from tests.servers import Broker, KafkaServer

CHECKED = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}
READING = (ACLOperation.READ, ACLOperation.DESCRIBE_CONFIGS)


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with KafkaServer(CHECKED) as server:
        yield Broker(server.bootstrap)


def settings_of(broker: Broker, *allowed: ACLOperation) -> KafkaSettings:
    """A tick topic of one's own; with `allowed`, everyone may do this and nothing else to it."""
    ticks = broker.fresh_topic(2)
    topic = ResourcePattern(ResourceType.TOPIC, ticks)
    rights = [
        ACL("User:ANONYMOUS", "*", operation, ACLPermissionType.ALLOW, topic)
        for operation in allowed
    ]
    if rights:
        create_acls(broker, rights)
    return KafkaSettings(
        bootstrap_servers=broker.bootstrap, group=ticks, ticks=ticks, forecasts=f"f-{ticks}"
    )


def test_a_log_that_may_not_be_written_to_says_so_at_its_start(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(broker, *READING)

    log = KafkaLog(settings)
    with pytest.raises(AppendForbidden, match=f"may not write to topic {settings.ticks}"):
        log.append(0, b"A", None)
    log.close()

    assert f"may not write to topic {settings.ticks}: resets will be refused" in caplog.text


@pytest.mark.parametrize("allowed", [(), (*READING, ACLOperation.WRITE)])
def test_a_log_that_may_be_written_to_says_nothing(
    broker: Broker, caplog: pytest.LogCaptureFixture, allowed: tuple[ACLOperation, ...]
) -> None:
    log = KafkaLog(settings_of(broker, *allowed))
    receipt = log.append(1, b"A", None)
    log.close()

    assert receipt == (1, 0)
    assert "may not write" not in caplog.text


def test_resets_are_refused_with_the_reason_and_reading_goes_on(broker: Broker) -> None:
    kafka = settings_of(broker, *READING)
    settings = Settings(kafka=kafka, http=HttpSettings(port=0))
    with (
        Service(settings, KafkaLog(kafka), MemoryStore()) as service,
        httpx.Client(base_url=service.api.url, trust_env=False, timeout=30) as client,
    ):
        answers = [
            client.post("/instruments/A/reset"),
            client.post("/reset", json={"all": True}),
            client.post("/reset", json={"partitions": [0]}),
        ]
        summary = client.get("/summary")

    assert summary.status_code == 200
    for answer in answers:
        assert answer.status_code == 403
        assert answer.json()["type"] == problems.RESET_FORBIDDEN.type
        assert f"may not write to topic {kafka.ticks}" in answer.json()["detail"]
