"""A real Prometheus with the configuration of deploy/prometheus; only its addresses are ours."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from tests.deploy.files import DEPLOY
from tests.servers import Server, ServerMissingError, free_ports

CONFIG = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())


class Asked:
    """A Prometheus at `url`, which is also asked whether it is ready: promtool cannot yet."""

    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of the API; an error in a query is an HTTPError."""
        query = f"?{urlencode(parameters)}" if parameters else ""
        with urlopen(f"{self.url}/api/v1/{path}{query}") as answer:
            return json.load(answer)["data"]

    def values(self, expression: str) -> list[float]:
        """The values of an instant query."""
        found = self.ask("query", query=expression)
        assert found["resultType"] == "vector", expression
        return [float(one["value"][1]) for one in found["result"]]

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.url}/-/ready") as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class PrometheusServer(Asked, Server):
    """Scrapes these addresses as the stack's Prometheus scrapes its worker."""

    name = "prometheus"

    def __init__(self, targets: Sequence[str]) -> None:
        super().__init__()
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        (job,) = CONFIG["scrape_configs"]
        scraping = [job | {"static_configs": [{"targets": list(targets)}]}]
        config = CONFIG | {"scrape_configs": scraping}
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        for name in CONFIG["rule_files"]:
            shutil.copy(DEPLOY / "prometheus" / name, self.folder / name)

    def _command(self) -> list[str]:
        program = shutil.which("prometheus")
        if program is None:
            raise ServerMissingError("prometheus is missing: run  make servers")
        listen = f"--web.listen-address=127.0.0.1:{self.port}"
        return [program, "--config.file=prometheus.yml", "--storage.tsdb.path=data", listen]
