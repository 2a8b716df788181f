"""Leaving the group for good: what no Kafka client does for a static member.

A broker keeps the place of a static member that stops until its session is over, so that a restart
moves nothing. The partitions of one that will not come back stand still so long, unless it is taken
out of the group. Nothing here fails a stop: what does not work is logged, and waited for.
"""

from __future__ import annotations

import logging
from typing import Any

from kafka.admin import MemberToRemove

from slotcast.log.kafka.client import kafka_errors
from slotcast.log.port import LogError
from slotcast.settings import KafkaSettings

logger = logging.getLogger(__name__)


def leave(settings: KafkaSettings, admin: Any, member_id: str) -> None:
    """Take this static member out of the group; with its id, so that no namesake goes instead."""
    group, name = settings.group, settings.instance_id
    member = MemberToRemove(member_id, name, "it stops")
    try:
        with kafka_errors(f"leave group {group}", settings):
            (refused,) = admin.remove_group_members(group, [member]).values()
            if refused.errno:
                raise refused
    except LogError as error:
        wait = f"its partitions wait for kafka.session_timeout_ms = {settings.session_timeout_ms}"
        logger.warning("%s stays in the group, and %s: %s", name, wait, error)
