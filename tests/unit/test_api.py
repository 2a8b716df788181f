"""The HTTP API over fake readings, through a real server on a free port."""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus

from slotcast.api import events, pages, problems
from slotcast.api.app import create_app
from slotcast.api.doorway import MAX_BODY_BYTES
from slotcast.api.events import Feed
from slotcast.api.records import Watch
from slotcast.api.server import ApiServer
from slotcast.board.views import LogUnavailable, MemoryUnavailable, Readiness, ResetForbidden
from slotcast.metrics import Metrics
from slotcast.settings import HttpSettings
from tests.unit.fake_readings import FakeReadings, alone

TOKEN = "open sesame ü"
ODD_NAMES = ["a/b", "a/reset", "a/forecast", "Zürich 7", "東京", "?#&%", "%2F", "a+b", ".x", "/"]


def settings(**more: Any) -> HttpSettings:
    return HttpSettings(host="127.0.0.1", port=0, **more)


@contextmanager
def served(
    readings: FakeReadings, metrics: Metrics | None = None, **more: Any
) -> Iterator[httpx.Client]:
    http = settings(**more)
    with (
        ApiServer(create_app(readings, metrics or Metrics(), http, alone()), http) as server,
        httpx.Client(base_url=server.url, trust_env=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[FakeReadings, httpx.Client]]:
    readings = FakeReadings(["AAPL", "MSFT", "a", *ODD_NAMES])
    with served(readings) as client:
        yield readings, client


@pytest.fixture
def readings(shared: tuple[FakeReadings, httpx.Client]) -> Iterator[FakeReadings]:
    fake = shared[0]
    yield fake
    fake.readiness_now, fake.commits, fake.failure = Readiness(ready=True), True, None
    fake.resets.clear()


@pytest.fixture
def client(readings: FakeReadings, shared: tuple[FakeReadings, httpx.Client]) -> httpx.Client:
    return shared[1]


def path_of(name: str, rest: str = "") -> str:
    return "/instruments/" + "".join(f"%{byte:02X}" for byte in name.encode()) + rest


def assert_problem(response: httpx.Response, kind: problems.Kind) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    problems.Problem.model_validate(body)
    assert response.status_code == body["status"] == kind.status
    assert (body["type"], body["title"]) == (f"/docs#{kind.name}", kind.title)
    assert body["instance"] == response.request.url.raw_path.decode().partition("?")[0]
    assert body["detail"]
    return body


# Health


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/health"])
def test_a_ready_service_is_healthy(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/v2/health/ready", "/health"])
def test_reasons_for_not_being_ready_are_in_the_body(
    client: httpx.Client, readings: FakeReadings, path: str
) -> None:
    readings.readiness_now = Readiness(
        ready=False, reasons=("ticks-0 replays", "the store is away"), notes=("ticks-1 is new",)
    )

    body = assert_problem(client.get(path), problems.NOT_READY)

    assert body["ready"] is False
    assert body["reasons"] == ["ticks-0 replays", "the store is away"]
    assert body["notes"] == ["ticks-1 is new"]


def test_a_service_that_is_not_ready_is_live(client: httpx.Client, readings: FakeReadings) -> None:
    readings.readiness_now = Readiness(ready=False)

    assert client.get("/v2/health/live").json() == {"live": True}


# Instruments


def test_instruments_come_in_pages_in_name_order(client: httpx.Client) -> None:
    whole = client.get("/instruments").json()
    second = client.get("/instruments", params={"offset": 1, "limit": 2}).json()

    names = [item["instrument"] for item in whole["instruments"]]
    assert names == sorted(names)
    assert [item["instrument"] for item in second["instruments"]] == names[1:3]
    assert (second["total"], second["offset"], second["limit"]) == (len(names), 1, 2)


def test_search_finds_a_part_of_the_name_in_any_case(client: httpx.Client) -> None:
    page = client.get("/instruments", params={"search": "sf"}).json()

    assert [item["instrument"] for item in page["instruments"]] == ["MSFT"]


def test_an_instrument_shows_its_slot_last_tick_forecast_and_skill(client: httpx.Client) -> None:
    shown = client.get("/instruments/AAPL").json()

    assert {"slot", "ticks", "ts", "offset", "origin", "partition"} <= shown.keys()
    (target,) = shown["targets"]
    assert target["lower"] <= target["forecast"] <= target["upper"]
    assert {"value", "naive", "source", "skill", "coverage", "recent"} <= target.keys()


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_reaches_its_instrument_when_percent_encoded(
    client: httpx.Client, readings: FakeReadings, name: str
) -> None:
    assert client.get(path_of(name)).json()["instrument"] == name
    assert client.get(path_of(name, "/forecast")).json()["instrument"] == name
    client.post(path_of(name, "/reset"))
    assert readings.resets == [[name]]


def test_a_bare_slash_belongs_to_the_name(client: httpx.Client, readings: FakeReadings) -> None:
    client.post("/instruments/a/b/reset")

    assert readings.resets == [["a/b"]]
    assert client.get("/instruments/a/b/forecast").json()["instrument"] == "a/b"


@pytest.mark.parametrize("rest", ["", "/forecast"])
def test_an_unknown_instrument_is_404_and_says_how_to_list(client: httpx.Client, rest: str) -> None:
    body = assert_problem(client.get(path_of("no/such", rest)), problems.UNKNOWN_INSTRUMENT)

    assert "'no/such'" in body["detail"]
    assert "GET /instruments" in body["detail"]


def test_a_name_that_is_not_utf8_is_invalid(client: httpx.Client) -> None:
    assert_problem(client.get("/instruments/%FF"), problems.INVALID)


def test_a_free_run_has_the_steps_asked_for(client: httpx.Client) -> None:
    run = client.get("/instruments/AAPL/forecast", params={"steps": 10_000}).json()

    assert len(run["forecasts"]["price"]) == len(run["lower"]["price"]) == 10_000


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/instruments/AAPL/forecast?steps=0", "query.steps"),
        ("/instruments/AAPL/forecast?steps=10001", "query.steps"),
        ("/instruments/AAPL/forecast?steps=x", "query.steps"),
        ("/instruments?limit=1001", "query.limit"),
        ("/instruments?limit=0", "query.limit"),
        ("/instruments?offset=-1", "query.offset"),
        ("/instruments?sort=colour", "query.sort"),
        ("/events?limit=1001", "query.limit"),
        ("/events?slots=colour", "query.slots"),
    ],
)
def test_an_argument_out_of_bounds_is_named(client: httpx.Client, path: str, where: str) -> None:
    body = assert_problem(client.get(path), problems.INVALID)

    assert [fault["at"] for fault in body["errors"]] == [where]


def test_numbers_that_json_does_not_have_are_null() -> None:
    readings = FakeReadings(["X"])
    readings.tick("X", float("nan"))
    readings.tick("X", float("inf"))

    with served(readings) as client:
        texts = [client.get(path).text for path in ("/instruments/X", "/instruments/X/forecast")]
        with client.stream("GET", "/events") as stream:
            texts += islice(data_lines(stream), 1)

    for text in texts:
        assert not {"NaN", "Infinity"} & set(text.replace(":", ",").split(","))
        json.loads(text, parse_constant=pytest.fail)
    assert json.loads(texts[0])["targets"][0]["value"] is None


# Resets


def test_a_committed_reset_gives_its_receipt(client: httpx.Client, readings: FakeReadings) -> None:
    response = client.post("/instruments/AAPL/reset")

    assert response.status_code == 200
    assert response.json() == {
        "committed": True,
        "receipts": [{"instrument": "AAPL", "partition": 0, "offset": 0, "committed": True}],
    }


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ({"instruments": ["B", "A", "B"]}, ["B", "A"]),
        ({"partitions": [0, 0]}, [0]),
        ({"all": True}, None),
    ],
)
def test_a_set_a_partition_or_all_can_be_reset(
    client: httpx.Client, readings: FakeReadings, body: dict[str, Any], asked: list[str] | None
) -> None:
    response = client.post("/reset", json=body)

    assert response.status_code == 200
    assert readings.resets == [asked]


@pytest.mark.parametrize("path", ["/instruments/AAPL/reset", "/reset"])
def test_a_reset_whose_commit_was_not_seen_is_202_with_the_same_receipts(
    client: httpx.Client, readings: FakeReadings, path: str
) -> None:
    readings.commits = False

    response = client.post(path, json={"all": True})

    assert response.status_code == 202
    assert response.json()["committed"] is False
    assert [receipt["committed"] for receipt in response.json()["receipts"]] == [False]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"all": False},
        {"all": True, "instruments": ["A"]},
        {"all": True, "partitions": [0]},
        {"partitions": []},
        {"partitions": [-1]},
        {"partitions": [7]},
        {"instruments": []},
        {"instruments": [""]},
        {"instruments": [1]},
        {"instruments": "A"},
        {"everything": True},
        [],
    ],
)
def test_a_reset_of_nothing_or_of_two_things_is_invalid(
    client: httpx.Client, readings: FakeReadings, body: object
) -> None:
    assert_problem(client.post("/reset", json=body), problems.INVALID)
    assert readings.resets == []


def test_a_body_that_is_not_json_is_invalid(client: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}

    assert_problem(client.post("/reset", content=b"{", headers=headers), problems.INVALID)


def test_a_body_that_is_too_large_is_refused(client: httpx.Client) -> None:
    body = b" " * (MAX_BODY_BYTES + 1)

    assert_problem(client.post("/reset", content=body), problems.TOO_LARGE)


def test_a_body_of_unknown_length_is_refused(client: httpx.Client) -> None:
    assert_problem(client.post("/reset", content=iter([b"{}"])), problems.LENGTH_MISSING)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (ResetForbidden("no WRITE on topic ticks: grant it"), problems.RESET_FORBIDDEN),
        (LogUnavailable("the log was silent for 10 s"), problems.LOG_UNAVAILABLE),
    ],
)
def test_a_reset_that_the_log_does_not_take_says_why(
    client: httpx.Client, readings: FakeReadings, failure: Exception, kind: problems.Kind
) -> None:
    readings.failure = failure

    for response in (
        client.post("/instruments/A/reset"),
        client.post("/reset", json={"all": True}),
    ):
        assert assert_problem(response, kind)["detail"] == str(failure)


def test_a_reset_from_a_page_of_another_site_is_refused(
    client: httpx.Client, readings: FakeReadings
) -> None:
    foreign = client.post("/instruments/A/reset", headers={"Origin": "https://elsewhere.example"})
    own = client.post("/instruments/A/reset", headers={"Origin": str(client.base_url).rstrip("/")})

    assert_problem(foreign, problems.FOREIGN_PAGE)
    assert own.status_code == 200


# Bearer token


@pytest.fixture(scope="module")
def guarded() -> Iterator[httpx.Client]:
    with served(FakeReadings(["A"]), token=TOKEN) as client:
        yield client


@pytest.mark.parametrize("path", ["/instruments/A/reset", "/reset"])
@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        (None, 'Bearer realm="slotcast"'),
        ("Basic b3BlbjpzZXNhbWU=", 'Bearer realm="slotcast"'),
        ("Bearer wrong", 'Bearer realm="slotcast", error="invalid_token"'),
        (f"Bearer {TOKEN}x", 'Bearer realm="slotcast", error="invalid_token"'),
    ],
)
def test_a_reset_without_the_token_is_refused(
    guarded: httpx.Client, path: str, header: str | None, challenge: str
) -> None:
    headers = {"Authorization": header.encode()} if header else {}

    response = guarded.post(path, json={"all": True}, headers=headers)

    assert_problem(response, problems.UNAUTHORISED)
    assert response.headers["www-authenticate"] == challenge


def test_a_reset_with_the_token_is_done(guarded: httpx.Client) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}".encode()}

    assert guarded.post("/instruments/A/reset", headers=headers).status_code == 200


def test_reading_needs_no_token(guarded: httpx.Client) -> None:
    assert guarded.get("/instruments").status_code == 200


# Errors that belong to no endpoint


def test_an_unknown_path_is_a_problem(client: httpx.Client) -> None:
    assert "/docs" in assert_problem(client.get("/nothing"), problems.UNKNOWN_PATH)["detail"]


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fapp.py", "%2Fetc%2Fpasswd"])
def test_only_the_files_of_the_pages_are_served(client: httpx.Client, name: str) -> None:
    assert_problem(client.get(f"/page/{name}"), problems.UNKNOWN_PATH)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("POST", "/summary", "GET"), ("GET", "/reset", "POST"), ("DELETE", "/instruments/A", "GET")],
)
def test_a_wrong_method_names_the_right_one(
    client: httpx.Client, method: str, path: str, allowed: str
) -> None:
    response = client.request(method, path)

    assert f"use {allowed}" in assert_problem(response, problems.WRONG_METHOD)["detail"]
    assert response.headers["allow"] == allowed


def test_an_unexpected_error_leaks_nothing_and_can_be_found_in_the_log(
    client: httpx.Client, readings: FakeReadings, caplog: pytest.LogCaptureFixture
) -> None:
    readings.failure = RuntimeError("secret inside")

    with caplog.at_level(logging.ERROR):
        response = client.get("/instruments/AAPL")

    body = assert_problem(response, problems.UNEXPECTED)
    assert "secret" not in response.text
    assert response.headers["connection"] == "close"
    assert body["incident"] in body["detail"]
    assert any(
        body["incident"] in r.message and "secret inside" in r.message for r in caplog.records
    )


# Summary, metrics, description


def test_the_summary_is_the_views(client: httpx.Client, readings: FakeReadings) -> None:
    shown = client.get("/summary").json()

    assert shown["ticks"] == readings.summary().ticks
    assert shown["slots"] == 1024
    assert shown["partitions"] == []


@pytest.mark.parametrize(
    ("accept", "parse"),
    [
        ("text/plain", parse_prometheus),
        ("application/openmetrics-text; version=1.0.0", text_string_to_metric_families),
    ],
)
def test_the_metrics_text_has_every_metric(
    accept: str, parse: Callable[[str], Iterator[Any]]
) -> None:
    registry = CollectorRegistry()
    with served(FakeReadings(["A"]), Metrics(registry)) as client:
        response = client.get("/metrics", headers={"Accept": accept})

    assert response.headers["content-type"].startswith(accept.partition(";")[0])
    shown = {family.name for family in parse(response.text)}
    names = {family.name for family in registry.collect()}
    assert len(names) > 15
    assert {n for n in names if n not in shown and f"{n}_total" not in shown} == set()


EVERY = {"500", "503"}
"""A fault of ours; a service that stops."""
RESET_ANSWERS = {"200", "202", "401", "403", "411", "413", "422"}
ANYWHERE = {"200", "404", "421", "422"}
ENDPOINTS = {
    ("get", "/v2/health/live"): {"200"},
    ("get", "/v2/health/ready"): {"200"},
    ("get", "/health"): {"200"},
    ("get", "/instruments"): {"200", "421", "422"},
    ("get", "/instruments/{instrument}"): ANYWHERE,
    ("get", "/instruments/{instrument}/forecast"): ANYWHERE,
    ("post", "/instruments/{instrument}/reset"): RESET_ANSWERS,
    ("post", "/reset"): RESET_ANSWERS,
    ("get", "/summary"): {"200"},
    ("get", "/workers"): {"200"},
    ("get", "/metrics"): {"200"},
    ("get", "/events"): {"200", "422"},
    ("get", "/"): {"200"},
    ("get", "/docs"): {"200"},
}


def test_the_description_lists_every_endpoint_with_its_answers(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]

    listed = {
        (method, path): set(operation["responses"])
        for path, operations in paths.items()
        for method, operation in operations.items()
    }
    assert listed == {endpoint: answers | EVERY for endpoint, answers in ENDPOINTS.items()}


def test_every_reference_of_the_description_leads_somewhere(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]

    references = {part.split('"')[0] for part in json.dumps(document).split('"$ref": "')[1:]}
    missing = {r for r in references if r.removeprefix("#/components/schemas/") not in schemas}
    assert missing == set()
    assert {"Problem", "Event", "Instrument"} <= schemas.keys()
    assert "HTTPValidationError" not in schemas


def test_the_description_explains_every_kind_of_problem(client: httpx.Client) -> None:
    listed = client.get("/openapi.json").json()["x-problems"]

    assert [kind["type"] for kind in listed] == [kind.type for kind in problems.KINDS]


# Pages


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_is_html_that_may_load_nothing_from_elsewhere(
    client: httpx.Client, path: str
) -> None:
    page = client.get(path)

    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'self'" in page.headers["content-security-policy"]


@pytest.mark.parametrize("name", sorted(pages.FILES))
def test_a_file_of_the_pages_names_no_other_host(client: httpx.Client, name: str) -> None:
    file = client.get(f"/page/{name}")

    assert file.status_code == 200
    assert file.text
    assert "//" not in file.text.replace('"http://www.w3.org/2000/svg"', "").replace("// ", "")


@pytest.mark.parametrize("page", ["board.html", "docs.html"])
def test_a_page_finds_its_files(page: str) -> None:
    text = pages.FILES[page].read_text()
    wanted = {piece.split('"')[0] for piece in text.split('="page/')[1:]}

    assert wanted
    assert wanted <= pages.FILES.keys()


@pytest.mark.parametrize("name", sorted(n for n in pages.FILES if n.endswith(".js")))
def test_a_script_imports_only_what_is_there_and_uses_what_it_imports(name: str) -> None:
    text = pages.FILES[name].read_text()

    for names, file in re.findall(r'(?m)^import (.+) from "\./(.+)";$', text):
        there = pages.FILES[file].read_text()
        if names.startswith("{"):
            for one in names.strip("{} ").split(", "):
                assert re.search(rf"export (async )?(class|const|function) {one}\b", there), one
                assert len(re.findall(rf"\b{one}\b", text)) > 1, f"{one} is not used"


def test_the_manual_has_every_path_and_every_kind_of_problem() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "rest.md").read_text()

    assert {p for method, p in ENDPOINTS if f"{method.upper()} {p}" not in manual} == set()
    assert {k.name for k in problems.KINDS if f"| `{k.name}` | {k.status} |" not in manual} == set()


# Events


def data_lines(stream: httpx.Response) -> Iterator[str]:
    return (line[6:] for line in stream.iter_lines() if line.startswith("data: "))


def events_of(stream: httpx.Response) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in data_lines(stream))


def test_the_first_event_brings_the_part_that_is_watched() -> None:
    names = [f"I{n:03}" for n in range(1_000)]
    with (
        served(FakeReadings(names)) as client,
        client.stream("GET", "/events?search=i&offset=400&limit=50") as stream,
    ):
        first = next(events_of(stream))

    assert stream.headers["content-type"].startswith("text/event-stream")
    assert [i["instrument"] for i in first["instruments"]] == names[400:450]
    assert first["order"] == [[0, name] for name in names[400:450]]
    assert first["total"] == first["summary"]["instruments"] == 1_000
    assert first["readiness"] == {"ready": True, "reasons": [], "notes": []}
    assert (first["instrument"], first["slot_map"]) == (None, None)


def test_what_comes_into_the_watched_part_again_is_sent_again() -> None:
    feed = Feed(
        busy := FakeReadings(["A", "B"]), Watch(sort="ticks", descending=True, limit=1), alone()
    )

    for name, most in (("A", 5), ("B", 10), ("A", 20)):
        while busy.instrument(name).ticks < most:
            busy.tick(name)
        event = json.loads(feed.advance().removeprefix(b"data: "))
        assert [one["instrument"] for one in event["instruments"]] == [name]
        assert event["order"] == [[0, name]]


@pytest.mark.parametrize(("offset", "merged"), [(0, 21), (1_950, 7)])
def test_far_down_a_long_list_other_workers_are_asked_less_often(
    offset: int, merged: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They read, and we, all that comes before it."""
    feed = Feed(FakeReadings(["A"]), Watch(offset=offset, limit=50), alone())
    asked = list[int]()
    monkeypatch.setattr(events, "others_have", lambda *_: True)
    monkeypatch.setattr(feed, "_part_of_all", lambda: asked.append(1) or feed._own_part())

    for _ in range(40):
        feed.advance()

    assert len(asked) == merged


def test_a_stream_sends_the_instrument_and_the_slots_that_are_asked_for() -> None:
    with (
        served(FakeReadings(["A", "a/b"])) as client,
        client.stream("GET", "/events?limit=1&instrument=a/b&slots=coverage") as stream,
    ):
        event = next(events_of(stream))
        whole = client.get("/instruments/a%2Fb").json()

    assert event["instrument"] == whole
    assert event["slot_map"]["measure"] == "coverage"


def test_the_slots_are_in_every_fourth_event() -> None:
    busy = FakeReadings(["A"])
    feed = Feed(busy, Watch(slots="skill"), alone())
    maps = []

    for _ in range(9):
        busy.tick("A")
        maps.append(json.loads(feed.advance().removeprefix(b"data: "))["slot_map"])

    assert [n for n, one in enumerate(maps) if one] == [0, 4, 8]


@pytest.mark.parametrize("instrument", ["nobody", "A"])
def test_a_stream_goes_on_without_an_instrument_that_cannot_be_had(instrument: str) -> None:
    readings = FakeReadings(["A"])
    if instrument == "A":
        readings.failure = MemoryUnavailable("paged out, and redis is away")
    with (
        served(readings) as client,
        client.stream("GET", f"/events?instrument={instrument}") as stream,
    ):
        assert next(events_of(stream))["instrument"] is None


def test_later_events_bring_what_ticked_since() -> None:
    readings = FakeReadings(["A", "B", "C"])
    with served(readings) as client, client.stream("GET", "/events") as stream:
        events = events_of(stream)
        next(events)
        readings.tick("B", 5.0)
        second = next(events)

    (changed,) = second["instruments"]
    assert (changed["instrument"], changed["targets"][0]["value"]) == ("B", 5.0)


def test_an_idle_stream_sends_comments() -> None:
    with served(FakeReadings(["A"])) as client, client.stream("GET", "/events") as stream:
        lines = [line for line in islice(stream.iter_lines(), 6) if line]

    assert lines[0] == "retry: 1000"
    assert lines[1].startswith("data: ")
    assert lines[2] == ": idle"


def test_a_stream_ends_when_the_server_stops() -> None:
    http = settings()
    server = ApiServer(create_app(FakeReadings(["A"]), Metrics(), http, alone()), http)
    server.start()
    with httpx.Client(base_url=server.url, trust_env=False).stream("GET", "/events") as stream:
        events = events_of(stream)
        next(events)
        server.stop()

        assert list(events) == []


def test_too_many_streams_are_refused_and_a_reader_that_leaves_makes_room() -> None:
    readings = FakeReadings(["A"])
    http = settings()
    app = create_app(readings, Metrics(), http, alone())
    app.state.events.streams_max = 1
    with (
        ApiServer(app, http) as server,
        httpx.Client(base_url=server.url, trust_env=False) as client,
    ):
        with client.stream("GET", "/events") as stream:
            events = events_of(stream)
            next(events)
            assert_problem(client.get("/events"), problems.TOO_MANY_STREAMS)

        assert_admitted_soon(client)


def test_readers_that_come_at_once_are_counted_one_by_one() -> None:
    """The server starts on many of them before the first has its first event."""
    http = settings()
    app = create_app(FakeReadings(["A"]), Metrics(), http, alone())
    app.state.events.streams_max = 3
    with ApiServer(app, http) as server, ExitStack() as opened:
        address = ("127.0.0.1", server.port)
        readers = [opened.enter_context(socket.create_connection(address, 10)) for _ in range(40)]
        for reader in readers:
            reader.sendall(b"GET /events HTTP/1.1\r\nHost: here\r\n\r\n")
        statuses = [reader.recv(12) for reader in readers]

    assert statuses.count(b"HTTP/1.1 200") == 3
    assert statuses.count(b"HTTP/1.1 503") == 37
    assert app.state.events.open == 0


def assert_admitted_soon(client: httpx.Client) -> None:
    for _ in range(200):
        with client.stream("GET", "/events") as stream:
            if stream.status_code == 200:
                return
    pytest.fail("the reader that left still counts")


# Server


def test_port_zero_takes_a_free_port_that_is_known() -> None:
    with served(FakeReadings([])) as client:
        assert client.base_url.port not in (0, None)


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({}, "http://127.0.0.1:{port}"),
        ({"host": "0.0.0.0", "token": "x"}, "http://{name}:{port}"),
        ({"advertise": "https://w0.example/slotcast/"}, "https://w0.example/slotcast"),
    ],
)
def test_a_server_knows_where_other_workers_reach_it(more: dict[str, str], wanted: str) -> None:
    http = HttpSettings(**({"host": "127.0.0.1", "port": 0} | more))
    with ApiServer(create_app(FakeReadings([]), Metrics(), http, alone()), http) as server:
        found = server.advertised

        assert found == wanted.format(port=server.port, name=socket.gethostname())


@pytest.mark.parametrize("url", ["w0:8080", "ftp://w0", "http://", "http://w 0"])
def test_an_advertised_address_is_a_url(url: str) -> None:
    with pytest.raises(ValueError, match="advertise"):
        HttpSettings(advertise=url)


def test_a_taken_port_is_named_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        http = HttpSettings(host="127.0.0.1", port=taken.getsockname()[1])
        server = ApiServer(create_app(FakeReadings([]), Metrics(), http, alone()), http)

        with pytest.raises(OSError, match=rf"127\.0\.0\.1 port {http.port}.*--port"):
            server.start()
        server.stop()


def test_a_stopped_server_frees_its_port() -> None:
    with served(FakeReadings([])) as client:
        port = client.base_url.port

    http = HttpSettings(host="127.0.0.1", port=port or 0)
    with ApiServer(create_app(FakeReadings([]), Metrics(), http, alone()), http) as again:
        assert again.port == port
