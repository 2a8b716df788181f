"""Committing offsets for a group from outside, which brokers allow while it has no members."""

from __future__ import annotations

from collections.abc import Mapping

from kafka import TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from slotcast.log.kafka.client import administrator, kafka_errors
from slotcast.log.kafka.topics import topic_id
from slotcast.log.port import Committed, LogError
from slotcast.settings import KafkaSettings


class OutsideCommitter:
    """Commits for the group `settings.group`. `topic_id` is that of the tick topic."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        with kafka_errors(f"ask about group {settings.group}", settings):
            self._admin = administrator(settings)
            try:
                self.topic_id = topic_id(self._admin, settings.ticks)
            except KafkaError:
                self.close()
                raise

    def commit(self, offsets: Mapping[int, Committed]) -> None:
        """Commit these. Raises `LogError`, also while the group has members."""
        group, ticks = self._settings.group, self._settings.ticks
        wanted = {
            TopicPartition(ticks, partition): OffsetAndMetadata(at.offset, at.metadata, -1)
            for partition, at in offsets.items()
        }
        with kafka_errors(f"commit offsets of group {group}", self._settings):
            members = self._admin.describe_groups([group])[group]["members"]
            if members:
                raise LogError(f"group {group} has {len(members)} members: stop all workers first")
            answers = self._admin.alter_group_offsets(group, wanted)
        refused = {tp.partition: error for tp, error in answers.items() if error.errno}
        if refused:
            raise LogError(f"the broker refused offsets of group {group}: {refused}")

    def close(self) -> None:
        """Close the connection."""
        self._admin.close()
