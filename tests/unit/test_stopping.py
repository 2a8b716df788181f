"""A service that stops: whoever reads gets an answer, or is told that there will be none."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from slotcast.api import server
from slotcast.api.app import create_app
from slotcast.api.problems import STOPPING
from slotcast.api.server import ApiServer
from slotcast.board.views import InstrumentView
from slotcast.bootstrap import Service, embedded
from slotcast.metrics import Metrics
from slotcast.questions import WorkerEnded
from slotcast.run_settings import market_settings
from slotcast.settings import HttpSettings
from tests.unit.fake_readings import FakeReadings, alone

PATHS = ("/instruments", "/instruments/nobody", "/instruments/nobody/forecast", "/workers")


class SlowReadings(FakeReadings):
    """Finds nothing before `release` is set."""

    def __init__(self) -> None:
        super().__init__(["A"])
        self.asked, self.release = threading.Event(), threading.Event()

    def instrument(self, name: str) -> InstrumentView | None:
        """Wait."""
        self.asked.set()
        self.release.wait(30.0)
        return super().instrument(name)


def test_a_read_that_outlasts_the_server_is_told_that_it_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "PATIENCE_S", 0)
    readings, http = SlowReadings(), HttpSettings(host="127.0.0.1", port=0)
    with (
        ThreadPoolExecutor(1) as pool,
        ApiServer(create_app(readings, Metrics(), http, alone()), http) as api,
        httpx.Client(base_url=api.url, trust_env=False, timeout=30.0) as client,
    ):
        answer = pool.submit(client.get, "/instruments/A")
        assert readings.asked.wait(10.0)
        api.stop()
        found = answer.result()
        readings.release.set()

    assert (found.status_code, found.json()["type"]) == (503, STOPPING.type)
    assert found.headers["retry-after"] == "5"


def read_until_refused(service: Service, path: str) -> set[int]:
    """Status codes of reads, one after the other, until the address takes no more.

    None is left without an answer and without an end.
    """
    seen: set[int] = set()
    with httpx.Client(base_url=service.api.url, trust_env=False, timeout=30.0) as client:
        while True:
            try:
                seen.add(client.get(path).status_code)
            except httpx.TimeoutException:
                raise
            except httpx.TransportError:
                return seen


def test_reads_while_a_service_stops_never_fail(tmp_path: Path) -> None:
    service, _ = embedded(market_settings(0, 8), tmp_path)
    with ThreadPoolExecutor(len(PATHS)) as pool:
        service.start()
        readers = [pool.submit(read_until_refused, service, path) for path in PATHS]
        service.stop()
        seen = [reader.result() for reader in readers]

    assert set().union(*seen) <= {200, 404, 503}


@pytest.mark.parametrize("path", PATHS)
def test_reads_of_a_service_whose_worker_has_ended_do_not_fail(tmp_path: Path, path: str) -> None:
    service, _ = embedded(market_settings(0, 8), tmp_path)
    with service:
        service.worker.stop()
        service._thread.join()
        with httpx.Client(base_url=service.api.url, trust_env=False, timeout=30.0) as client:
            answer = client.get(path)

    assert answer.status_code in (200, 503)


def test_a_question_to_an_ended_worker_is_answered_at_once(tmp_path: Path) -> None:
    service, _ = embedded(market_settings(0, 8), tmp_path)
    service.start()
    service.stop()

    answer = service.worker.ask(lambda: 1)

    with pytest.raises(WorkerEnded, match="told to"):
        answer.result(0)
