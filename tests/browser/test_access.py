"""The live page for who uses the keyboard, a screen reader, a phone, the dark, or wants it calm."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from slotcast.board.views import PartitionView, Readiness
from tests.browser.conftest import SCREENS, Open, faked
from tests.browser.stage import Stage
from tests.unit.fake_readings import FakeReadings

PHONE = {"width": 390, "height": 844}


def accessible_names(page: Page) -> list[tuple[str, str]]:
    """(element, its name as assistive technology has it) of all that can be used."""
    session = page.context.new_cdp_session(page)
    found = []
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    for node in nodes:
        focusable = any(
            one["name"] == "focusable" and one["value"]["value"]
            for one in node.get("properties", [])
        )
        role = node.get("role", {}).get("value", "")
        if focusable and not node.get("ignored") and role != "RootWebArea":
            found.append((role, node.get("name", {}).get("value", "").strip()))
    return found


NAMED = "(e => e.id || e.getAttribute('aria-label') || e.textContent)(document.activeElement)"


def tabbed(page: Page, most: int = 200) -> list[str]:
    """What the tabulator key reaches, in order, as ids, labels or texts, until it begins again."""
    seen: list[str] = []
    for _ in range(most):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(NAMED))
        if len(seen) > 1 and seen[-1] == seen[0]:
            return seen[:-1]
    return seen


def test_everything_that_can_be_used_has_a_name(opened: Open, stage: Stage) -> None:
    page = opened(stage.url)
    expect(page.locator("#chart .run")).to_have_count(1)

    found = accessible_names(page)

    assert len(found) > 50
    assert [role for role, name in found if not name] == []


def test_the_tabulator_reaches_search_rows_and_resets_in_their_order(
    opened: Open, stage: Stage
) -> None:
    page = opened(stage.url)
    expect(page.locator("#chart .run")).to_have_count(1)
    first, last = (page.locator("#board tbody .name").nth(n).inner_text() for n in (0, -1))

    reached = tabbed(page)

    assert reached[0] == "Skip to the instruments"
    wanted = [
        "search",
        first,
        last,
        "chart",
        "reset",
        "slot-map",
        "reset-all",
        "Reset partition 0…",
    ]
    places = [reached.index(one) for one in wanted]
    assert places == sorted(places)


def test_a_row_opens_with_the_keyboard_and_closing_gives_the_focus_back(
    opened: Open, stage: Stage
) -> None:
    page = opened(stage.url)
    row = page.locator("#board tbody .name").nth(5)
    row.focus()

    page.keyboard.press("Enter")
    expect(page.locator("#detail-name")).to_have_text(row.inner_text())
    expect(row).to_have_attribute("aria-current", "true")
    page.locator("#close").focus()
    page.keyboard.press("Enter")

    expect(page.locator("#detail")).to_be_hidden()
    expect(row).to_be_focused()


def test_the_skip_link_leads_to_the_search(opened: Open, stage: Stage) -> None:
    page = opened(stage.url)

    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    expect(page.locator("#search")).to_be_focused()


def test_a_question_holds_the_focus_and_escape_refuses_it(opened: Open, stage: Stage) -> None:
    page = opened(stage.url)
    page.locator("#reset-all").click()
    expect(page.locator("#refrain")).to_be_focused()

    page.keyboard.press("Escape")

    expect(page.locator("#asking")).to_be_hidden()
    expect(page.locator("#reset-all")).to_be_focused()


SPOKEN = "[aria-live], [role=status], [role=alert], [role=log], output"


def test_what_happens_is_said_politely_and_figures_keep_silent(opened: Open, stage: Stage) -> None:
    page = opened(stage.url)

    for polite in ("#done", "#range", "#missing", ".status"):
        assert page.locator(polite).get_attribute("role") == "status"
    for figures in (".tiles", "#board", "#facts", "#chart", "#chart-said", "#slots", "#partitions"):
        assert page.locator(f"{figures}:is({SPOKEN}), {figures} :is({SPOKEN})").count() == 0


def test_what_has_the_focus_is_read_out_when_it_is_moved_and_not_at_every_tick(
    opened: Open, stage: Stage
) -> None:
    page = opened(stage.url, height=1400)
    chart = page.locator("#chart")
    expect(page.locator("#chart .run")).to_have_count(1)
    chart.focus()
    chart.press("ArrowLeft")
    said, shown = chart.get_attribute("aria-valuetext"), page.locator("#chart-said")
    expect(shown).to_have_text(said or "")

    for _ in range(5):
        stage.tick(400)
    expect(shown).not_to_have_text(said or "")

    assert chart.get_attribute("aria-valuetext") == said


def luminance(colour: list[float]) -> float:
    parts = [c / 255 for c in colour[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: list[float], other: list[float]) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


COLOURS = """
    Object.fromEntries(["page", "card", "ink", "soft", "accent", "accent-tint", "hover", "poor",
      "poor-tint", "warn", "warn-tint"].map((name) => {
        const brush = new OffscreenCanvas(1, 1).getContext("2d");
        brush.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);
        brush.fillRect(0, 0, 1, 1);
        return [name, [...brush.getImageData(0, 0, 1, 1).data]];
      }))
"""
PAIRS = [
    *((text, ground) for text in ("ink", "soft", "accent") for ground in ("page", "card", "hover")),
    *(("ink", "accent-tint"), ("soft", "accent-tint"), ("accent", "accent-tint")),
    *(("poor", "poor-tint"), ("warn", "warn-tint"), ("poor", "card"), ("warn", "card")),
    ("card", "accent"),
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(opened: Open, stage: Stage, scheme: Any) -> None:
    page = opened(stage.url, color_scheme=scheme)
    expect(page.locator("#chart .run")).to_have_count(1)

    colours = page.evaluate(COLOURS)

    weak = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in PAIRS}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < 4.5} == {}


def test_who_wants_less_motion_gets_none(opened: Open, stage: Stage) -> None:
    page = opened(stage.url, reduced_motion="reduce")
    expect(page.locator("#board tbody tr")).to_have_count(40)
    before = page.locator("#ticks").inner_text()

    stage.tick(400)
    expect(page.locator("#ticks")).not_to_have_text(before)

    assert page.evaluate("document.getAnimations().length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_the_page_without_scrolling_sideways(
    opened: Open, stage: Stage, scheme: Any
) -> None:
    page = opened(stage.url, **PHONE, color_scheme=scheme)
    expect(page.locator("#board tbody tr")).to_have_count(40)

    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_on_a_phone_the_detail_is_a_sheet_that_escape_closes(opened: Open, stage: Stage) -> None:
    page = opened(stage.url, **PHONE)
    expect(page.locator("#detail")).to_be_hidden()
    row = page.locator("#board tbody .name").nth(1)
    row.click()

    expect(page.locator("#detail-name")).to_be_focused()
    expect(page.locator("#chart .run")).to_have_count(1)
    page.screenshot(path=SCREENS / "phone-sheet.png")
    assert "Search instruments" not in dict(accessible_names(page)).values()
    page.keyboard.press("Escape")

    expect(page.locator("#detail")).to_be_hidden()
    expect(row).to_be_focused()


def test_on_a_phone_an_address_with_a_name_opens_the_sheet(opened: Open, stage: Stage) -> None:
    name = stage.market.names[3]
    page = opened(f"{stage.url}/#/{name}", **PHONE)

    expect(page.locator("#detail-name")).to_have_text(name)
    expect(page.locator("#detail")).to_be_visible()
    page.locator("#close").click()
    expect(page.locator("#detail")).to_be_hidden()
    expect(page.locator("#search")).to_be_focused()


def test_a_phone_shows_the_skill_beside_the_forecast(opened: Open, stage: Stage) -> None:
    page = opened(stage.url, **PHONE)
    expect(page.locator("#board tbody tr")).to_have_count(40)
    skill = page.locator("#board tbody tr").first.locator("td").nth(5).bounding_box()

    assert skill is not None
    assert skill["x"] + skill["width"] <= PHONE["width"]


def test_the_page_explains_its_figures(opened: Open, stage: Stage) -> None:
    page = opened(stage.url, width=1280, height=800)
    said = page.locator("#explained dl")

    expect(said).to_be_hidden()
    page.get_by_text("What do the figures say?").click()
    expect(said).to_be_visible()
    terms = said.locator("dt").all_inner_texts()
    assert terms == ["Forecast", "90 % interval", "Coverage", "Skill"]


# What a healthy worker does not show


ODD = ["<b>bold</b>", "a/b", "Zürich 7", "東京", "?#&%", "%2F", '"', "."]


def test_any_name_is_shown_as_it_is_and_opens(opened: Open, servers: ExitStack) -> None:
    url = servers.enter_context(faked(FakeReadings(ODD)))
    page = opened(url)
    expect(page.locator("#board tbody .name")).to_have_text(sorted(ODD))

    for name in ODD[:-1]:
        page.get_by_role("button", name=name, exact=True).click()
        expect(page.locator("#detail-name")).to_have_text(name)
        expect(page.locator("#chart .run")).to_have_count(1)


def test_several_targets_have_a_row_each_and_a_choice(opened: Open, servers: ExitStack) -> None:
    url = servers.enter_context(faked(FakeReadings(["EURUSD", "USDJPY"], ["bid", "ask"])))
    page = opened(url)

    expect(page.locator("#board tbody tr")).to_have_count(4)
    expect(page.locator("#board tbody td.target")).to_have_text(["bid", "ask"] * 2)
    page.locator("#target").select_option("ask")
    said = "EURUSD, ask: recent values and forecasts"
    expect(page.locator("#chart")).to_have_attribute("aria-label", said)


def test_recovery_and_what_stands_still_are_seen(opened: Open, servers: ExitStack) -> None:
    readings = FakeReadings([f"I{n}" for n in range(30)])
    damage = "ticks-2 was deleted and created again: start with --on-damage cold"
    readings.partition_views = [
        PartitionView(0, "live", 9_000, 9_012, 8_800, 120, 1.0, 3.2, "began anew at 17"),
        PartitionView(1, "recovering", 9_000, 12_000, 100, 118, 0.37, 0.0),
        PartitionView(2, "stopped", 0, 10, 0, 0, 1.0, 0.0, damage),
        PartitionView(3, "recovering", 0, 10, 0, 0, 0.0, None),
        PartitionView(4, "live", 10, 10, 0, 7, 1.0, None),
    ]
    readings.readiness_now = Readiness(ready=False, reasons=[damage, "partition 1 is recovering"])
    url = servers.enter_context(faked(readings))
    page = opened(url, height=1400)

    lines = page.locator("#partitions tbody tr")
    expect(lines.nth(0).locator("td").nth(2)).to_have_text("3.2 s · 200")
    expect(lines.nth(1)).to_contain_text("recovering, 37 %")
    expect(lines.nth(1).locator("progress")).to_have_attribute("value", "0.37")
    expect(lines.nth(1).locator("td").nth(1)).to_have_text("3,000")
    expect(lines.nth(2)).to_contain_text("stopped")
    expect(lines.nth(3)).to_contain_text("recovering, not begun")
    expect(lines.nth(3).locator("progress")).to_have_attribute("value", "0")
    expect(lines.nth(4).locator("td").nth(2)).to_have_text("\u2013 · 10")
    expect(page.locator("#notes")).to_have_text("Partition 0: began anew at 17.")
    expect(page.locator("#ready")).to_have_text("Not ready")
    expect(page.locator("#reasons li")).to_have_text([damage, "partition 1 is recovering"])


@pytest.mark.complains("status of 503")
def test_a_stream_that_is_refused_says_why_until_there_is_room(
    opened: Open, servers: ExitStack
) -> None:
    url = servers.enter_context(faked(FakeReadings(["EURUSD"])))
    with ExitStack() as readers:
        client = readers.enter_context(httpx.Client(trust_env=False, timeout=30))
        for _ in range(32):
            answer = readers.enter_context(client.stream("GET", f"{url}/events"))
            assert answer.status_code == 200
        page = opened(url)

        expect(page.locator("#link")).to_have_text("Disconnected")
        expect(page.locator("#lost")).to_contain_text("Disconnected: 32 event streams are open")
        expect(page.locator("#lost")).to_contain_text("Nothing has come yet")

    expect(page.locator("#link")).to_have_text("Live")
    expect(page.locator("#lost")).to_be_hidden()
    expect(page.locator("#board tbody tr")).to_have_count(1)


def test_a_worker_without_ticks_says_what_it_waits_for(opened: Open, servers: ExitStack) -> None:
    url = servers.enter_context(faked(FakeReadings([])))
    page = opened(url)

    expect(page.locator("#empty-said")).to_have_text("Waiting for ticks…")
    expect(page.locator("#detail")).to_be_hidden()


def test_the_description_of_the_api_is_a_page(opened: Open, servers: ExitStack) -> None:
    url = servers.enter_context(faked(FakeReadings([])))
    page = opened(f"{url}/docs", height=1400)

    expect(page.locator("h3 code", has_text="/events")).to_have_count(1)
