"""Two workers with one instance id: the newer one replaces the older, and is left alone by it."""

from __future__ import annotations

import pytest

from slotcast.log.kafka.client import InstanceFenced
from slotcast.log.kafka.log import KafkaLog
from slotcast.log.port import CommitFailed
from tests.contract.asking import committed
from tests.contract.kafka_logs import CLIENTS, fresh_settings, until_owned
from tests.contract.test_kafka_takeover import commit
from tests.servers import Broker


@pytest.mark.parametrize("client", CLIENTS)
def test_a_replaced_worker_does_not_fence_the_one_that_replaced_it(
    kafka: Broker, client: str
) -> None:
    settings = fresh_settings(kafka, client=client, instance_id="worker-0")
    older = KafkaLog(settings)
    until_owned(older, {0, 1})
    commit(older, 3)
    newer = KafkaLog(settings)
    until_owned(newer, {0, 1})
    assert committed(newer, 0) is not None
    commit(newer, 5)

    with pytest.raises(CommitFailed, match="give every worker its own"):
        commit(older, 4)
    with pytest.raises(InstanceFenced):
        older.committed(0)

    commit(newer, 6)
    older.close()
    newer.close()
