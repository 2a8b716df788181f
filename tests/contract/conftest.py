"""What the tests of Kafka clients share; each module says with which `settings`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slotcast.log.kafka.log import KafkaLog
from slotcast.settings import KafkaSettings
from tests.contract.kafka_logs import until_owned
from tests.contract.kafka_topics import KafkaTopics


@pytest.fixture
def topics(settings: KafkaSettings) -> Iterator[KafkaTopics]:
    """Its topics, from outside."""
    topics = KafkaTopics(settings)
    yield topics
    topics.close()


@pytest.fixture
def log(settings: KafkaSettings) -> Iterator[KafkaLog]:
    """A log that owns both partitions."""
    log = KafkaLog(settings)
    until_owned(log, {0, 1})
    yield log
    log.close()
