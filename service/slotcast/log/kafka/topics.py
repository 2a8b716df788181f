"""The three topics: created where they are missing, refused where they cannot work.

A forecast goes to the partition number of its tick, so the forecast topic needs as many partitions
as the tick topic; it carries its tick's timestamp, so it must take any that the tick topic takes.
A compacted tick topic loses ticks, and with them exact recovery.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    AuthorizationError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)

from slotcast.log.kafka.client import administrator, kafka_errors
from slotcast.log.port import LogError, LogName
from slotcast.settings import KafkaSettings

POLICY = "cleanup.policy"
LIMITS = tuple(f"message.timestamp.{way}.max.ms" for way in ("before", "after", "difference"))
"""How far a record's timestamp may be from the broker's clock; brokers have some of them."""

log = logging.getLogger(__name__)


def ensure_topics(settings: KafkaSettings) -> LogName:
    """Create the missing topics, if allowed to, and check all three. Raises `LogError`.

    Returns what the log is called; a topic that was deleted and created again has another id.
    """
    with kafka_errors("look at the topics", settings), administrator(settings) as admin:
        found = partitions_of(admin, _names(settings))
        missing = [topic for topic in _names(settings) if topic not in found]
        if missing:
            _create(admin, settings, missing, found.get(settings.ticks, settings.partitions))
            found = partitions_of(admin, _names(settings))
        _check_partitions(settings, found)
        _check_configs(admin, settings)
        _say_if_read_only(admin, settings.ticks)
        return LogName(settings.ticks, topic_id(admin, settings.ticks), settings.group)


def ensure_tick_topic(settings: KafkaSettings) -> None:
    """For producers: create the tick topic if it is missing. Raises `LogError`."""
    with (
        kafka_errors(f"look at topic {settings.ticks}", settings),
        administrator(settings) as admin,
    ):
        if settings.ticks not in partitions_of(admin, _names(settings)):
            _create(admin, settings, [settings.ticks], settings.partitions)


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
    for topic in missing:  # ticks first
        limits = {} if topic == settings.ticks else limits_of(configured(admin, settings.ticks))
        wanted = {
            "num_partitions": partitions,
            "replication_factor": settings.replication,
            "configs": limits,
        }
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


def configured(admin: Any, topic: str) -> Mapping[str, str]:
    """A topic's settings; none where we may not read them, or it is not there."""
    try:
        found = admin.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter="all"
        )
    except (AuthorizationError, UnknownTopicOrPartitionError):
        return {}
    return {name: one["value"] for name, one in found["topic"][topic].items()}


def limits_of(ticks: Mapping[str, str]) -> dict[str, str]:
    """The timestamps that a topic takes, of its settings."""
    return {name: ticks[name] for name in LIMITS if ticks.get(name) is not None}


def stricter(ticks: Mapping[str, str], output: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """(setting, what it is, what it must be) where a topic does not take what ticks carry."""
    if output.get("message.timestamp.type") == "LogAppendTime":
        return
    for name, wanted in limits_of(ticks).items():
        found = output.get(name)
        if found is not None and int(found) < int(wanted):
            yield name, found, wanted


def _check_configs(admin: Any, settings: KafkaSettings) -> None:
    ticks = configured(admin, settings.ticks)
    if not ticks:
        log.warning("may not read the settings of %s: is it compacted?", settings.ticks)
    if "compact" in ticks.get(POLICY, ""):
        raise LogError(
            f"topic {settings.ticks} is compacted (cleanup.policy={ticks[POLICY]}), which deletes"
            " ticks: set its cleanup.policy to delete, or name another topic"
        )
    for topic in (settings.forecasts, settings.dead_letters):
        for name, found, wanted in stricter(ticks, configured(admin, topic)):
            raise LogError(
                f"topic {topic} has {name} {found} and {settings.ticks} has {wanted}: it would"
                f" refuse forecasts, which carry their ticks' timestamps: set it to {wanted}"
            )


def _say_if_read_only(admin: Any, ticks: str) -> None:
    """Resets are records of the tick topic; everything else works without the right to write."""
    (described,) = admin.describe_topics([ticks])
    allowed = described.get("authorized_operations")  # None from brokers that do not tell
    if allowed is not None and not {"WRITE", "ALL"} & set(allowed):
        log.warning(
            "may not write to topic %s: resets will be refused (403) until this user may", ticks
        )
