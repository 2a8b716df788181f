"""The stack of docker-compose.yml as processes of this computer, started as it says.

Grafana is missing: no package here has it. Kafka is started without the script of its image.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import ExitStack
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Self
from urllib.request import urlopen

from tests.deploy.files import SERVICES, properties
from tests.deploy.placed import Placed, Places
from tests.deploy.prometheus import Asked
from tests.servers import KafkaServer, Server, ServerMissingError

ENTRYPOINTS = {
    "redis": [],
    "slotcast": [sys.executable, "-m", "slotcast.cli"],
    "prom/prometheus": ["prometheus"],
}
"""What the image hands its command to."""


class Service(Server):
    """A service of the stack; it has started when its own health check says so."""

    start_timeout_s = 120.0  # as patient as the image: a worker may have to compile its loops

    def __init__(self, name: str, placed: Placed, port: int) -> None:
        self.name = name
        super().__init__()
        self.placed, self.url = placed, f"http://127.0.0.1:{port}"

    def get(self, path: str) -> Any:
        """A JSON answer of the service."""
        with urlopen(self.url + path) as answer:
            return json.load(answer)

    def end(self) -> int:
        """Ask it to end as an engine does; its exit code, -9 if it outlives the grace."""
        child = self._child
        assert child is not None
        self.stop_timeout_s = float(self.placed.service["stop_grace_period"].removesuffix("s"))
        self.stop()
        return child.returncode

    def _command(self) -> list[str]:
        entry = ENTRYPOINTS[self.placed.service["image"].partition(":")[0]]
        program, *words = [*entry, *self.placed.command]
        if shutil.which(program) is None:
            raise ServerMissingError(f"{program} is missing: run  make servers")
        variables = [f"{key}={value}" for key, value in self.placed.environment.items()]
        return ["env", *variables, program, *words]

    def _answers(self) -> bool:
        check = self.placed.check
        return not check or subprocess.run(check, capture_output=True, check=False).returncode == 0


class Prometheus(Asked, Service):
    """On an address of ours; all else is the stack's."""

    def _command(self) -> list[str]:
        return [*super()._command(), f"--web.listen-address={self.url.removeprefix('http://')}"]


class Kafka(KafkaServer):
    """The broker with the stack's properties and heap."""

    def __init__(self, placed: Placed, port: int) -> None:
        heap = placed.environment["KAFKA_HEAP_OPTS"].split()
        super().__init__(jvm_options=("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *heap))
        self._placed = placed
        self.bootstrap = f"127.0.0.1:{port}"
        self.port = port

    def _properties(self) -> dict[str, str]:
        (file,) = (path for path in self._placed.files.values() if path.is_file())
        return properties(file)


class Stack:
    """All services, each started when those that it needs are healthy."""

    def __init__(self, folder: Path) -> None:
        self._exit = ExitStack()
        self.places = Places()
        self.services: dict[str, Service] = {}
        self._folder = folder

    def __enter__(self) -> Self:
        with self._exit:
            needs = {name: service.get("depends_on", {}) for name, service in SERVICES.items()}
            for name in TopologicalSorter(needs).static_order():
                if name != "grafana":
                    self._start(name)
            self._exit = self._exit.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._exit.close()

    def _start(self, name: str) -> None:
        placed = Placed(name, self.places, self._folder)
        if name == "kafka":
            self._exit.enter_context(Kafka(placed, self.places.ports["inside"]))
            return
        kind = Prometheus if name == "prometheus" else Service
        service = kind(name, placed, self.places.ports.get(name, 0))
        self.services[name] = self._exit.enter_context(service)

    def log_tails(self) -> str:
        """The last lines of everything."""
        return "\n\n".join(f"{name}:\n{one.log_tail()}" for name, one in self.services.items())
