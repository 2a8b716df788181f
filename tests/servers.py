"""A real Apache Kafka broker and a real Redis server for tests and benchmarks.

Each runs as one child of this Python program, on free ports of 127.0.0.1, with its files in a
temporary folder. `kill` and `restart` keep ports and files, so a test can take a server away and
give it back. Nothing here installs anything: `make servers` does.
"""

from __future__ import annotations

import atexit
import base64
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import redis
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

ROOT = Path(__file__).resolve().parents[1]
KAFKA_LIBS = ROOT / "build" / "kafka" / "libs"
PATIENCE_S = 120.0
"""How long a test waits for what must come; a busy machine takes its time."""
MOST_PROCESSES = 6
"""Of a parallel run. Each may start a broker and import TensorFlow: some 1.5 GB."""
PORTS = 2_000
"""Of each process, from 20,000 on."""


class ServerMissingError(RuntimeError):
    """A server's program is not on this machine; the message names the command that installs it."""


class ServerFailedError(RuntimeError):
    """A server did not start; the message ends with the last lines of its log."""


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 on which nobody listens, below those given to outgoing connections.

    A client that retries a dead server in the outgoing range may end up connected to itself. Each
    process of a parallel run has a range of its own, since a server takes its port a little later.
    """
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 20_000 + PORTS * (process % MOST_PROCESSES)
    held: list[socket.socket] = []
    try:
        while len(held) < count:
            listener = socket.socket()
            try:
                listener.bind(("127.0.0.1", first + secrets.randbelow(PORTS)))
                held.append(listener)
            except OSError:
                listener.close()
        return [listener.getsockname()[1] for listener in held]
    finally:
        for listener in held:
            listener.close()


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


class Server(ABC):
    """One server program: started, stopped, killed, suspended and restarted by its process id."""

    name: str
    start_timeout_s = PATIENCE_S
    stop_timeout_s = 30.0

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"slotcast-{self.name}-"))
        self.log = self.folder / "log"
        self._child: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._child is not None, f"{self.name} is not running"
        return self._child.pid

    def start(self) -> Self:
        """Start, and return when it answers in its own protocol."""
        assert self._child is None, f"{self.name} already runs as {self.pid}"
        self._child = self._spawn(self._command())
        deadline = time.monotonic() + self.start_timeout_s
        while not self._answers():
            if self._child.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServerFailedError(f"{self.name} did not start:\n{self.log_tail()}")
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def restart(self) -> Self:
        """Start again on the same ports and files, after ending it if it still runs."""
        self.stop()
        return self.start()

    def suspend(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `suspend`."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Kill it and remove its files; a second call does nothing."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.close)

    def log_tail(self, lines: int = 30) -> str:
        """The last lines that the server wrote, without the frames of Java's stack traces."""
        if not self.log.exists():
            return "(it wrote no log)"
        written = self.log.read_text(errors="replace").splitlines()
        return "\n".join([line for line in written if not line.startswith("\tat ")][-lines:])

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal is for pytest, which then stops us.
            return subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _end(self, number: signal.Signals) -> None:
        if self._child is None:
            return
        child, self._child = self._child, None
        child.send_signal(number)
        child.send_signal(signal.SIGCONT)
        try:
            child.wait(self.stop_timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    @abstractmethod
    def _command(self) -> list[str]:
        """The command line, or `ServerMissingError`."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it serves requests now."""


class KafkaServer(Server):
    """One broker that is its own KRaft controller; `settings` go over those in `_properties`."""

    name = "kafka"

    def __init__(
        self,
        settings: dict[str, str] | None = None,
        heap_mb: int = 320,
        jvm_options: tuple[str, ...] = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    ) -> None:
        super().__init__()
        self._settings = settings or {}
        self._jvm = [f"-Xms{heap_mb}m", f"-Xmx{heap_mb}m", *jvm_options]
        self.port, self._controller_port = free_ports(2)
        self.bootstrap = f"127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start, formatting the folder the first time."""
        if not (self.folder / "data").exists():
            self._format()
        return super().start()

    def _format(self) -> None:
        properties = {**self._properties(), **self._settings}
        text = "".join(f"{key}={value}\n" for key, value in properties.items())
        (self.folder / "server.properties").write_text(text)
        cluster = (
            base64.urlsafe_b64encode(b"slotcast" + uuid.uuid4().bytes[:8]).decode().rstrip("=")
        )
        command = [*self._java(), "kafka.tools.StorageTool", "format"]
        child = self._spawn([*command, "-t", cluster, "-c", "server.properties"])
        if child.wait(self.start_timeout_s) != 0:
            raise ServerFailedError(f"kafka did not format its folder:\n{self.log_tail()}")

    def _properties(self) -> dict[str, str]:
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": (
                f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self._controller_port}"
            ),
            "log.dirs": str(self.folder / "data"),
            "auto.create.topics.enable": "false",
            # Many a test's records are of 1970, and would be deleted when the broker looks.
            "log.retention.ms": "-1",
            # A killed broker is let back in when its old session has run out: 9 s by default.
            "broker.session.timeout.ms": "2000",
            "broker.heartbeat.interval.ms": "400",
            "group.initial.rebalance.delay.ms": "0",
            "group.coordinator.append.linger.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "log.cleaner.dedupe.buffer.size": "4194304",
            "num.network.threads": "2",
            "num.io.threads": "2",
        }

    def _command(self) -> list[str]:
        return [*self._java(), "kafka.Kafka", "server.properties"]

    def _java(self) -> list[str]:
        home = os.environ.get("JAVA_HOME")
        java = shutil.which("java", path=f"{home}/bin" if home else None)
        if java is None or not any(KAFKA_LIBS.glob("kafka_*.jar")):
            raise ServerMissingError(
                f"java or the jars in {KAFKA_LIBS} are missing: run  make servers"
                "  (or set KAFKA_BOOTSTRAP_SERVERS to a running Kafka)"
            )
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        return [java, *self._jvm, quiet, "-cp", f"{KAFKA_LIBS}/*"]

    def _answers(self) -> bool:
        if not _listens(self.port):
            return False
        try:
            with KafkaAdminClient(bootstrap_servers=self.bootstrap) as admin:
                return bool(admin.describe_cluster()["brokers"])
        except KafkaError:
            return False


@dataclass(frozen=True)
class Broker:
    """A Kafka as a test sees it: its address, and topics that nobody else uses."""

    bootstrap: str

    def fresh_topic(self, partitions: int = 1, name: str = "ticks", **configs: str) -> str:
        """Make a topic of this many partitions and return its name, `name` plus a random end.

        `configs` are topic configs with underscores for dots: `cleanup_policy="compact"`.
        """
        topic = f"{name}-{uuid.uuid4().hex[:8]}"
        wanted = {
            "num_partitions": partitions,
            "replication_factor": 1,
            "configs": {"retention.ms": "-1"}
            | {key.replace("_", "."): value for key, value in configs.items()},
        }
        with KafkaAdminClient(bootstrap_servers=self.bootstrap) as admin:
            admin.create_topics({topic: wanted}, wait_for_metadata=True)
        return topic


class RedisServer(Server):
    """One Redis that refuses writes when full and keeps nothing on disk unless `options` say so."""

    name = "redis"

    def __init__(self, options: tuple[str, ...] = ()) -> None:
        super().__init__()
        (self.port,) = free_ports(1)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._options = options

    def _command(self) -> list[str]:
        program = shutil.which("redis-server")
        if program is None:
            raise ServerMissingError(
                "redis-server is missing: run  make servers  (or set REDIS_URL to a running Redis)"
            )
        fixed = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)]
        volatile = ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"]
        return [program, *fixed, *volatile, *self._options]

    def _answers(self) -> bool:
        client = redis.Redis.from_url(self.url, socket_timeout=1.0, retry=None)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()
