"""Who may reset over HTTP and from where, and what answers forbid a browser."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from slotcast.api import doorway, problems, server
from slotcast.api.problems import SAFE_HEADERS
from slotcast.settings import HttpSettings
from tests.unit.fake_readings import FakeReadings
from tests.unit.test_api import assert_problem, served

LOOPBACK = ["127.0.0.1", "127.1.2.3", "::1", "localhost"]
BEYOND = ["0.0.0.0", "::", "10.0.0.5", "fe80::1", "worker-0.example", ""]


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with served(FakeReadings(["A"])) as client:
        yield client


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_needs_no_token(host: str) -> None:
    assert HttpSettings(host=host).token is None


@pytest.mark.parametrize("host", BEYOND)
def test_an_address_beyond_loopback_needs_a_token_or_a_word(host: str) -> None:
    with pytest.raises(ValueError, match=r"everyone .* may reset: set token_file, or host = 127"):
        HttpSettings(host=host)

    assert HttpSettings(host=host, token="open sesame").host == host
    assert HttpSettings(host=host, anyone_may_reset=True).host == host


def test_an_empty_token_is_no_token() -> None:
    with pytest.raises(ValueError, match="token"):
        HttpSettings(token="")


def test_the_token_may_stand_in_a_file_and_then_nowhere_else(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("open sesame\n")

    assert HttpSettings(token_file=file).token.get_secret_value() == "open sesame"
    with pytest.raises(ValueError, match="token and token_file are both set"):
        HttpSettings(token_file=file, token="another")
    with pytest.raises(ValueError, match=r"token_file: cannot read .*nothing: No such file"):
        HttpSettings(token_file=tmp_path / "nothing")
    file.write_text("\n")
    with pytest.raises(ValueError, match="token"):
        HttpSettings(token_file=file)


@pytest.mark.parametrize(
    ("host", "more", "status"),
    [
        ("127.0.0.1:8080", {}, 200),
        ("[::1]:8080", {}, 200),
        ("localhost:8080", {}, 200),
        ("10.0.0.5:8080", {}, 200),
        ("worker-0.example", {"advertise": "http://worker-0.example:8080"}, 200),
        ("rebound.example", {}, 403),
        ("localhost.example", {"advertise": "http://worker-0.example"}, 403),
    ],
)
def test_a_name_that_a_site_could_make_lead_here_may_not_reset(
    host: str, more: dict[str, Any], status: int
) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    with served(FakeReadings(["A"]), **more) as client:
        response = client.post("/instruments/A/reset", headers=headers)

    assert response.status_code == status
    if status == 403:
        assert "advertise" in assert_problem(response, problems.FOREIGN_PAGE)["detail"]


def test_with_a_token_any_name_may_reset() -> None:
    headers = {"Host": "a.example", "Origin": "http://a.example", "Authorization": "Bearer x"}
    with served(FakeReadings(["A"]), token="x") as client:
        assert client.post("/instruments/A/reset", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "path", ["/summary", "/instruments/nobody", "/nothing", "/metrics", "/openapi.json", "/health"]
)
def test_every_answer_forbids_frames_and_guessing(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers

    assert {name: headers.get(name) for name in SAFE_HEADERS} == SAFE_HEADERS


def test_an_answer_about_our_own_failure_does_too() -> None:
    readings = FakeReadings(["A"])
    readings.failure = RuntimeError("broken")
    with served(readings) as client:
        response = client.get("/instruments/A")

    assert response.status_code == 500
    assert {name: response.headers.get(name) for name in SAFE_HEADERS} == SAFE_HEADERS


@pytest.mark.parametrize("path", ["/", "/docs", "/page/board.js", "/page/board.css"])
def test_pages_run_only_what_this_server_sends(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]

    assert policy.startswith("default-src 'self'")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"


def test_a_body_that_is_no_text_is_invalid(client: httpx.Client) -> None:
    response = client.post("/reset", content=b"\xff", headers={"Content-Type": "application/json"})

    assert "JSON in UTF-8" in assert_problem(response, problems.INVALID)["detail"]


@pytest.mark.parametrize("body", [{"partitions": ["0"]}, {"partitions": [True]}, {"all": 1}])
def test_a_reset_takes_nothing_for_what_it_is_not(client: httpx.Client, body: Any) -> None:
    assert_problem(client.post("/reset", json=body), problems.INVALID)


BUFFERS = 64 << 20
"""More than lies between a sender and a reader who has stopped."""


def refused_while_sending(client: httpx.Client, head: str, piece: bytes) -> bytes:
    """The answer to a body that is sent on and on, or not at all."""
    sent, deadline = 0, time.monotonic() + 30
    with socket.create_connection((client.base_url.host, client.base_url.port), 30) as one:
        one.sendall(f"POST /reset HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n".encode())
        one.settimeout(0.05)
        answer = b""
        while not answer:
            assert sent < BUFFERS, "it is read to its end"
            assert time.monotonic() < deadline, "its end is waited for"
            with suppress(TimeoutError):
                answer = one.recv(65_536)
            with suppress(TimeoutError, ConnectionError):
                sent += one.send(piece) if piece else 0
        one.settimeout(30)
        with suppress(ConnectionError):  # it is closed, whatever else was under way
            while more := one.recv(65_536):
                answer += more
    return answer


@pytest.mark.parametrize(
    ("head", "status"),
    [("Content-Length: 99999999999", b" 413 "), ("Transfer-Encoding: chunked", b" 411 ")],
)
def test_no_more_of_a_refused_body_is_read_than_so_much(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, head: str, status: bytes
) -> None:
    monkeypatch.setattr(doorway, "DISCARD_BYTES", 1 << 18)
    monkeypatch.setattr(doorway, "DISCARD_S", 3_600)
    piece = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"

    answer = refused_while_sending(client, head, piece)

    assert status in answer.splitlines()[0]
    assert b"connection: close" in answer.lower()


def test_nobody_waits_for_the_end_of_a_refused_body(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorway, "DISCARD_S", 0.2)

    answer = refused_while_sending(client, "Content-Length: 99999999", b"")

    assert b" 413 " in answer.splitlines()[0]
    assert client.get("/summary").status_code == 200


def test_connections_are_limited_and_work_again_when_some_have_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "CONNECTIONS", 4)
    with served(FakeReadings(["A"])) as client:
        at = (client.base_url.host, client.base_url.port)
        assert client.get("/summary").status_code == 200  # keeps its connection: one
        with ExitStack() as held:
            for _ in range(2):
                one = held.enter_context(socket.create_connection(at))
                one.sendall(b"GET /summary HTTP/1.1\r\n")
            with httpx.Client(base_url=client.base_url, trust_env=False) as late:
                assert late.get("/summary").status_code == 503
        with httpx.Client(base_url=client.base_url, trust_env=False) as again:
            answers = [again.get("/summary").status_code for _ in range(20)]

    assert 200 in answers
