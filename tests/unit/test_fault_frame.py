"""The frame of the fault suite can see what it is for."""

from __future__ import annotations

import json
import socket
import struct
import time
from dataclasses import asdict
from threading import Thread

import pytest

from tests.faults.oracle import count
from tests.faults.proxy import Asked, How, Proxy
from tests.faults.report import ROW, Fault, found, table
from tests.faults.ticks import Laps
from tests.servers import ROOT, free_ports


def test_the_oracle_counts_what_is_too_many_and_what_is_missing() -> None:
    due = [["a", "b", "c"], ["a"]]

    assert count(due, due) == (0, 0)
    assert count([["a", "b", "b"], ["a"]], due) == (1, 1)
    assert count([["a", "b", "c", "a"], []], due) == (1, 1)


def test_every_file_of_faults_has_a_row_in_the_manual() -> None:
    manual = (ROOT / "docs" / "recovery.md").read_text()

    files = {path.name for path in (ROOT / "tests" / "faults").glob("test_*.py")}
    assert {name for name in files if f"`{name}`" not in manual} == set()


def test_a_lap_begins_at_later_times_than_the_one_before() -> None:
    ticks = [(b"A", json.dumps({"ts": ts}).encode(), 7 + ts, None) for ts in (0, 5, 9)]

    laps = Laps(ticks)[:9]

    times = [json.loads(value)["ts"] for _, value, _, _ in laps]
    assert times == sorted(set(times))
    assert laps[:3] == ticks


def test_the_table_has_a_row_for_every_fault() -> None:
    lines = table([Fault("a fault", "-", takeover_s=1.25, note="noted"), Fault("b", "client")])

    assert len(lines) == 3
    assert "1.2" in lines[1]
    assert lines[1].endswith("noted")


def test_a_fault_comes_back_from_the_report_of_another_process() -> None:
    fault = Fault("a fault", "-", takeover_s=1.25)
    report = pytest.TestReport("a", ("a", 1, "a"), {}, "passed", None, "teardown")
    report.user_properties.append((ROW, asdict(fault)))

    assert found([pytest.TestReport._from_json(report._to_json())]) == [fault]


class Echo:
    """Answers every frame with itself, and keeps what was asked."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            client, _ = self._listener.accept()
            while frame := client.recv(12):
                self.heard.append(struct.unpack(">ihhi", frame)[3])
                client.sendall(struct.pack(">ii", 4, self.heard[-1]))
            client.close()


def ask(client: socket.socket, asked: Asked, number: int) -> bytes:
    client.sendall(struct.pack(">ihhi", 8, asked, 0, number))
    try:
        return client.recv(8)
    except OSError:
        return b""


@pytest.mark.parametrize(("how", "heard"), [("cut", [1, 2]), ("unsent", [1]), ("lost", [1, 2])])
def test_the_proxy_breaks_the_one_answer_it_was_told_to(how: How, heard: list[int]) -> None:
    echo, (port,) = Echo(), free_ports(1)
    proxy = Proxy(port, echo.port)
    rule = proxy.break_replies(Asked.END_TXN, how)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(30)
        assert ask(client, Asked.PRODUCE, 1) == struct.pack(">ii", 4, 1)
        if how == "lost":
            client.settimeout(0.3)
        assert ask(client, Asked.END_TXN, 2) == b""

    deadline = time.monotonic() + 30
    while (rule.hits, echo.heard) != (1, heard) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert rule.hits == 1
    assert echo.heard == heard
    proxy.close()
