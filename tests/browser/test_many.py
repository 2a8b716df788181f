"""The live page with ten thousand instruments: as light as with forty."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from slotcast.board.views import Window
from tests.browser.conftest import Open
from tests.browser.stage import Stage

COUNT_EVENTS = """
    window.events = [];
    window.EventSource = class extends EventSource {
      set onmessage(take) {
        super.onmessage = (message) => {
          events.push([performance.now(), message.data.length]);
          take(message);
        };
      }
    };
"""


@pytest.fixture(scope="module")
def crowd() -> Iterator[Stage]:
    with Stage(10_000, partitions=4, slots=8_000) as made:
        for _ in range(12):
            made.tick(10_000)
        yield made


def test_few_rows_and_few_small_events_show_ten_thousand(opened: Open, crowd: Stage) -> None:
    page = opened("about:blank", height=1400)
    page.add_init_script(COUNT_EVENTS)
    page.goto(crowd.url)
    expect(page.locator("#board tbody tr")).to_have_count(50)

    for _ in range(20):
        crowd.tick(1_000)
    while page.evaluate("events.length") < 5:
        page.wait_for_timeout(100)

    expect(page.locator("#range")).to_contain_text("50 of")
    events = page.evaluate("events")
    span_ms = events[-1][0] - events[0][0]
    assert len(events) - 1 <= span_ms / 400 + 2  # at most two a second
    assert max(size for _, size in events) < 150_000
    assert page.evaluate("document.querySelectorAll('*').length") < 2_000


def test_one_of_ten_thousand_is_found_and_followed(opened: Open, crowd: Stage) -> None:
    page = opened(crowd.url, color_scheme="dark")
    name = crowd.market.names[7_777]

    page.locator("#search").fill(name.lower())
    page.locator("#board tbody .name", has_text=name).first.click()

    expect(page.locator("#detail-name")).to_have_text(name)
    expect(page.locator("#chart .run")).to_have_count(1)


def test_all_are_sorted_not_only_the_page(opened: Open, crowd: Stage) -> None:
    page = opened(crowd.url)
    most = crowd.services[0].worker.parts.board._sheet.columns["ticks"].max()

    page.locator("#board thead").get_by_role("button", name="Ticks").click()

    expect(page.locator("#board tbody tr").first.locator("td").last).to_have_text(f"{most:,}")


def test_after_a_restart_all_are_listed_and_found_before_they_tick(
    opened: Open, crowd: Stage
) -> None:
    board = crowd.services[0].worker.parts.board
    names = [view.instrument for view in board.page(Window(limit=10_000))[0]]

    crowd.restart()

    page = opened(crowd.url)
    expect(page.locator("#range")).to_contain_text(f"50 of {len(names):,}")
    page.locator("#search").fill(names[-1].lower())
    page.locator("#board tbody .name", has_text=names[-1]).first.click()
    expect(page.locator("#detail-name")).to_have_text(names[-1])
    assert len(names) > 8_000, "more than have slots"


def test_pages_lead_through_ten_thousand(opened: Open, crowd: Stage) -> None:
    views, total = crowd.services[0].worker.parts.board.page(Window(limit=150))
    page = opened(crowd.url, height=1400)
    names = page.locator("#board tbody .name")

    for number in (1, 2):
        page.get_by_label("Next page").click()
        first = 50 * number
        expect(names).to_have_text([view.instrument for view in views[first : first + 50]])
        expect(page.locator("#range")).to_have_text(f"{first + 1}\u2013{first + 50} of {total:,}")

    assert total > 8_000
    expect(page.get_by_label("Next page")).to_be_enabled()
