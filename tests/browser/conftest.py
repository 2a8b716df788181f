"""A browser for the tests of the pages; what they looked like is kept in build/screens.

A missing Chromium is an error that names the way out, never a skip.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from prometheus_client import CollectorRegistry

from slotcast.api.app import create_app
from slotcast.api.server import ApiServer
from slotcast.metrics import Metrics
from slotcast.settings import HttpSettings
from tests.browser.stage import Stage
from tests.servers import ROOT, ServerMissingError
from tests.unit.fake_readings import FakeReadings, alone

SCREENS = ROOT / "build" / "screens"
PATIENCE_MS = 60_000
"""How long anything may take that a page does; nothing is expected to."""

Open = Callable[..., Page]
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium per module: its driver holds this thread's event loop while it runs."""
    program = shutil.which("chromium")
    if program is None:
        raise ServerMissingError("no chromium on this machine: run  make servers")
    with sync_playwright() as playwright:
        # Root may not use the sandbox; nothing but our own page is opened.
        launched = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    """What serves the pages of one test; closed after them."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def opened(browser: Browser, servers: ExitStack, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Open a page; at the end it is kept as a picture, and must have had nothing to complain of."""
    faults: list[str] = []
    pages: list[Page] = []

    def open_page(url: str, width: int = 1440, height: int = 900, **options: Any) -> Page:
        page = browser.new_page(viewport={"width": width, "height": height}, **options)
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(url)
        pages.append(page)
        return page

    yield open_page
    SCREENS.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", request.node.name.removeprefix("test_")).strip("-")
    for number, page in enumerate(pages):
        page.screenshot(path=SCREENS / f"{name}{f'-{number}' if number else ''}.png")
        page.close()
    expected = request.node.get_closest_marker("complains")
    known = re.compile(expected.args[0] if expected else r"(?!)")
    assert [fault for fault in faults if not known.search(fault)] == []


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A worker with forty instruments that have ticked for a while."""
    with Stage(40) as made:
        for _ in range(60):
            made.tick(200)
        yield made


@contextmanager
def faked(readings: FakeReadings) -> Iterator[str]:
    """The address of a server over these readings."""
    http = HttpSettings(host="127.0.0.1", port=0)
    app = create_app(readings, Metrics(CollectorRegistry()), http, alone())
    with ApiServer(app, http) as server:
        yield server.url
