"""A Kafka and a Redis to try things with, on their usual ports, until Ctrl-C: `make kafka`.

They are those of the tests: for this computer only, and nothing is left of them afterwards.
"""

from __future__ import annotations

import os
import socket
import sys

import typer

from slotcast.commands.options import until_interrupted
from tests.servers import KafkaServer, RedisServer, ServerFailedError, ServerMissingError

USUAL = {"KAFKA_PORT": 9092, "REDIS_PORT": 6379}


def chosen(name: str) -> int:
    """The port of this variable, else the usual one. Raises ServerFailedError if it is taken."""
    port = int(os.environ.get(name) or USUAL[name])
    with socket.socket() as client:
        if client.connect_ex(("127.0.0.1", port)) == 0:
            raise ServerFailedError(
                f"port {port} is taken: end what listens there, or  make kafka {name}={port + 1}"
            )
    return port


def at_their_ports(kafka_port: int, redis_port: int) -> tuple[KafkaServer, RedisServer]:
    """Servers that will listen there."""
    kafka, redis = KafkaServer(), RedisServer()
    kafka.port, kafka.bootstrap = kafka_port, f"127.0.0.1:{kafka_port}"
    redis.port, redis.url = redis_port, f"redis://127.0.0.1:{redis_port}/0"
    return kafka, redis


def main() -> int:
    """Run both until told to end. Exit code 1, with a message, where one does not start."""
    stop = until_interrupted()
    try:
        kafka, redis = at_their_ports(*map(chosen, USUAL))
        with kafka, redis:
            typer.echo(f"Kafka {kafka.bootstrap}   Redis {redis.url}   (Ctrl-C ends both)")
            stop.wait()
    except (ServerMissingError, ServerFailedError) as error:
        typer.echo(error, err=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
