"""What docker-compose.yml says of its services, with the addresses of this computer.

Host names, ports and paths are replaced, and nothing else. What no file says any more is an error.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from tests.deploy.files import ROOT, SERVICES, WORKERS, instructions, mounts
from tests.servers import free_ports

LOCAL = "127.0.0.1"


class Places:
    """Ports of this computer for everything that listens in the stack."""

    def __init__(self) -> None:
        names = ["inside", "host", "controller", "redis", "prometheus", *WORKERS]
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))

    def changes(self, service: str) -> dict[str, str]:
        """What a service's files say -> what they have to say here."""
        ports = self.ports
        clients = {
            "kafka:19092": f"{LOCAL}:{ports['inside']}",
            "redis:6379": f"{LOCAL}:{ports['redis']}",
        }
        if service == "kafka":
            return {
                "kafka:19092": f"{LOCAL}:{ports['inside']}",
                "//:19092": f"//{LOCAL}:{ports['inside']}",
                f"{LOCAL}:9092": f"{LOCAL}:{ports['host']}",
                "//:9092": f"//{LOCAL}:{ports['host']}",
                "localhost:29093": f"{LOCAL}:{ports['controller']}",
            }
        if service == "redis":
            bound = f"bind {LOCAL}\nport {ports['redis']}"
            return {"bind * -::*": bound, "redis-cli": f"redis-cli -p {ports['redis']}"}
        if service == "prometheus":
            return {f"{name}:8080": f"{LOCAL}:{ports[name]}" for name in WORKERS}
        if service in WORKERS:
            clients |= {
                "0.0.0.0": LOCAL,
                "port = 8080": f"port = {ports[service]}",
                f"{service}:8080": f"{LOCAL}:{ports[service]}",
                f"{LOCAL}:8080": f"{LOCAL}:{ports[service]}",
            }
        return clients


class Placed:
    """A service's command, environment, mounted files and health check, for this computer."""

    def __init__(self, name: str, places: Places, folder: Path) -> None:
        self.service: dict[str, Any] = SERVICES[name]
        self._changes = places.changes(name)
        self._told: set[str] = set()
        self.files = {
            target: self._mount(source, folder / name / target.strip("/"))
            for target, source in mounts(name).items()
        }
        self._changes |= {target: str(place) for target, place in self.files.items()}
        for target, source in mounts(name).items():
            if (ROOT / source).is_file():
                self.files[target].write_text(self._here((ROOT / source).read_text()))
        self.command = [self._here(word) for word in self.service.get("command", [])]
        self.environment = {
            key: self._here(value) for key, value in self.service.get("environment", {}).items()
        }
        self.check = [self._here(word) for word in _check(self.service)]
        unsaid = set(places.changes(name)) - self._told
        assert not unsaid, f"nothing says {unsaid} of {name} any more: see Places.changes"

    def _mount(self, source: str, place: Path) -> Path:
        place.parent.mkdir(parents=True, exist_ok=True)
        if not (ROOT / source).is_file():
            place.mkdir()
        return place

    def _here(self, text: str) -> str:
        longest_first = sorted(self._changes, key=len, reverse=True)
        words = re.compile("|".join(map(re.escape, longest_first)))
        self._told.update(words.findall(text))
        return words.sub(lambda found: self._changes[found[0]], text)


def _check(service: dict[str, Any]) -> list[str]:
    """The words of a health check: the service's, else its image's, else none."""
    if "build" in service and "healthcheck" not in service:
        _, _, words = dict(instructions())["HEALTHCHECK"].partition("CMD ")
        return [sys.executable, *json.loads(words)[1:]]
    kind, *words = service["healthcheck"].get("test", ["CMD"])
    return ["sh", "-c", *words] if kind == "CMD-SHELL" else words
