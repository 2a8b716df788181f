"""The three topics: created where they are missing, refused where they cannot work.

A forecast goes to the partition number of its tick, so the forecast topic needs as many partitions
as the tick topic. A compacted tick topic loses ticks, and with them exact recovery.
"""

from __future__ import annotations

import logging
from typing import Any

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import AuthorizationError, TopicAlreadyExistsError

from slotcast.log.kafka.client import connection, kafka_errors
from slotcast.log.port import LogError, LogName
from slotcast.settings import KafkaSettings

log = logging.getLogger(__name__)


def ensure_topics(settings: KafkaSettings) -> LogName:
    """Create the missing topics, if allowed to, and check all three. Raises `LogError`.

    Returns what the log is called; a topic that was deleted and created again has another id.
    """
    with kafka_errors("look at the topics", settings):
        admin = KafkaAdminClient(**connection(settings))
        try:
            found = partitions_of(admin, _names(settings))
            missing = [topic for topic in _names(settings) if topic not in found]
            if missing:
                _create(admin, settings, missing, found.get(settings.ticks, settings.partitions))
                found = partitions_of(admin, _names(settings))
            _check_partitions(settings, found)
            _check_not_compacted(admin, settings.ticks)
            _say_if_read_only(admin, settings.ticks)
            return LogName(settings.ticks, topic_id(admin, settings.ticks), settings.group)
        finally:
            admin.close()


def ensure_tick_topic(settings: KafkaSettings) -> None:
    """For producers: create the tick topic if it is missing. Raises `LogError`."""
    with kafka_errors(f"look at topic {settings.ticks}", settings):
        admin = KafkaAdminClient(**connection(settings))
        try:
            if settings.ticks not in partitions_of(admin, _names(settings)):
                _create(admin, settings, [settings.ticks], settings.partitions)
        finally:
            admin.close()


def topic_id(admin: Any, topic: str) -> str:
    """The broker's own id of a topic."""
    (described,) = admin.describe_topics([topic])
    return str(described.get("topic_id") or "")


def _names(settings: KafkaSettings) -> list[str]:
    return [settings.ticks, settings.forecasts, settings.dead_letters]


def partitions_of(admin: Any, topics: list[str]) -> dict[str, int]:
    """Number of partitions of those of these topics that exist."""
    described = admin.describe_topics(topics)
    return {t["name"]: len(t["partitions"]) for t in described if t["error_code"] == 0}


def _create(admin: Any, settings: KafkaSettings, missing: list[str], partitions: int) -> None:
    if not settings.create_topics:
        raise LogError(
            f"topics {', '.join(missing)} do not exist: create them with {partitions} partitions,"
            " or set kafka.create_topics = true"
        )
    for topic in missing:
        wanted = {"num_partitions": partitions, "replication_factor": settings.replication}
        try:
            admin.create_topics({topic: wanted}, wait_for_metadata=True)
        except TopicAlreadyExistsError:
            continue
        log.info("created topic %s with %d partitions", topic, partitions)


def _check_partitions(settings: KafkaSettings, found: dict[str, int]) -> None:
    ticks, forecasts = found.get(settings.ticks, 0), found.get(settings.forecasts, 0)
    if forecasts < ticks:
        raise LogError(
            f"topic {settings.forecasts} has {forecasts} partitions and {settings.ticks} has"
            f" {ticks}: give {settings.forecasts} at least {ticks}"
        )


def _check_not_compacted(admin: Any, ticks: str) -> None:
    resource = ConfigResource(ConfigResourceType.TOPIC, ticks)
    try:
        described = admin.describe_configs([resource], config_filter="all")
    except AuthorizationError as error:
        log.warning("may not read the settings of %s (%s): is it compacted?", ticks, error)
        return
    policy = described["topic"][ticks].get("cleanup.policy", {}).get("value", "")
    if "compact" in policy:
        raise LogError(
            f"topic {ticks} is compacted (cleanup.policy={policy}), which deletes ticks: set its"
            " cleanup.policy to delete, or name another topic"
        )


def _say_if_read_only(admin: Any, ticks: str) -> None:
    """Resets are records of the tick topic; everything else works without the right to write."""
    (described,) = admin.describe_topics([ticks])
    allowed = described.get("authorized_operations")  # None from brokers that do not tell
    if allowed is not None and not {"WRITE", "ALL"} & set(allowed):
        log.warning(
            "may not write to topic %s: resets will be refused (403) until this user may", ticks
        )
