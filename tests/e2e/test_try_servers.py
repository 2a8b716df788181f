"""`make kafka`: servers to try things with."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

from kafka.admin import KafkaAdminClient
from redis import Redis

from tests.servers import ROOT, free_ports

COMMAND = [sys.executable, "-m", "tests.try_servers"]


def test_servers_are_at_the_ports_and_end_with_ctrl_c() -> None:
    kafka, redis = free_ports(2)
    ports = {"KAFKA_PORT": str(kafka), "REDIS_PORT": str(redis)}
    running = subprocess.Popen(
        COMMAND, cwd=ROOT, env={**os.environ, **ports}, stdout=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    with running.stdout as said:
        line = said.readline()
        with KafkaAdminClient(bootstrap_servers=f"127.0.0.1:{kafka}") as admin:
            brokers = admin.describe_cluster()["brokers"]
        with Redis(port=redis) as client:
            answered = client.ping()
        running.send_signal(signal.SIGINT)

        assert running.wait(60) == 0
    assert line.startswith(f"Kafka 127.0.0.1:{kafka}   Redis redis://127.0.0.1:{redis}/0")
    assert len(brokers) == 1
    assert answered


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = subprocess.run(
            COMMAND,
            cwd=ROOT,
            env={**os.environ, "KAFKA_PORT": str(port)},
            capture_output=True,
            text=True,
            check=False,
        )

    assert ran.returncode == 1
    assert f"port {port} is taken" in ran.stderr
    assert f"make kafka KAFKA_PORT={port + 1}" in ran.stderr
