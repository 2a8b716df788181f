"""The live page in a browser, over a real worker."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.conftest import PATIENCE_MS, Open
from tests.browser.stage import Stage

DASH = "\u2013"


def get(stage: Stage, path: str) -> Any:
    return httpx.get(stage.url + path, trust_env=False).json()


def listed(stage: Stage, query: str) -> list[str]:
    return [one["instrument"] for one in get(stage, f"/instruments?{query}")["instruments"]]


def rows(page: Page) -> Locator:
    return page.locator("#board tbody tr")


def names(page: Page) -> Locator:
    return page.locator("#board tbody .name")


def number(text: str | None) -> float:
    return float((text or "").replace(",", "").replace("\u2212", "-"))


def percent(share: float | None) -> str:
    """As the page writes a share; skill has its sign too."""
    return DASH if share is None else f"{100 * share:.1f} %"


# What it shows


def test_every_part_of_the_service_is_shown(opened: Open, stage: Stage) -> None:
    page = opened(stage.url, height=1400)

    expect(names(page)).to_have_text(listed(stage, "limit=50"))
    expect(page.locator("#ready")).to_have_text("Ready")
    expect(page.locator("#link")).to_have_text("Live")
    expect(page.locator("#known")).to_have_text("40 instruments")
    expect(page.locator("#detail-name")).to_have_text(listed(stage, "limit=1")[0])
    expect(page.locator("#chart .run")).to_have_count(1)
    expect(page.locator("#slot-said")).to_contain_text("40 of 64 slots held")
    partitions = page.locator("#partitions tbody tr")
    expect(partitions).to_have_count(2)
    expect(partitions.first.locator("td")).to_contain_text(["live", "0", "s ·", "", "Reset…"])


def test_a_row_follows_its_instrument(opened: Open, stage: Stage) -> None:
    page = opened(stage.url)
    expect(rows(page)).to_have_count(40)

    stage.tick(400)

    for n in (0, 39):
        name = names(page).nth(n).inner_text()
        now = get(stage, f"/instruments/{name}")
        (target,) = now["targets"]
        cells = rows(page).nth(n).locator("td")
        expect(cells.last).to_have_text(f"{now['ticks']:,}")
        assert number(cells.nth(2).inner_text()) == pytest.approx(target["value"], rel=1e-3)
        said = cells.nth(3).inner_text()
        assert number(said.split()[0]) == pytest.approx(target["forecast"], rel=1e-3)
        assert said.split()[-1] == target["source"]
        ends = [number(end) for end in cells.nth(4).inner_text().split(f" {DASH} ")]
        assert ends == pytest.approx([target["lower"], target["upper"]], rel=1e-3)
        sign = "" if abs(target["skill"]) < 5e-4 else "+" if target["skill"] > 0 else "\u2212"
        expect(cells.nth(5)).to_have_text(sign + percent(abs(target["skill"])))
        expect(cells.nth(6)).to_have_text(percent(target["coverage"]))


def test_a_sparkline_has_the_last_values_the_forecast_and_its_interval(
    opened: Open, stage: Stage
) -> None:
    page = opened(stage.url)
    expect(rows(page)).to_have_count(40)
    (target,) = get(stage, f"/instruments/{names(page).first.inner_text()}")["targets"]
    trend = rows(page).first.locator("svg")

    drawn = re.findall(r"[ML](-?[\d.]+) ([\d.]+)", trend.locator(".line").get_attribute("d") or "")
    heights = [-float(y) for _, y in drawn]
    top, height = (float(trend.locator(".band").get_attribute(of) or "") for of in ("y", "height"))
    dot = float(trend.locator(".dot").get_attribute("cy") or "")

    assert [float(x) for x, _ in drawn] == sorted(float(x) for x, _ in drawn)
    assert len(heights) == len(target["recent"])
    low, high = min(target["recent"]), max(target["recent"])
    shares = [(value - low) / (high - low) for value in target["recent"]]
    least, most = min(heights), max(heights)
    assert [(y - least) / (most - least) for y in heights] == pytest.approx(shares, abs=0.02)
    assert top < dot < top + height


def test_the_detail_shows_what_was_forecast_and_a_free_run(opened: Open, stage: Stage) -> None:
    page = opened(stage.url)
    name = names(page).nth(3).inner_text()

    rows(page).nth(3).click()

    expect(page.locator("#detail-name")).to_have_text(name)
    expect(page.locator("#chart-said")).to_contain_text("inside the interval that was forecast")
    for layer in ("area", "expected", "actual", "fan", "run"):
        drawn = page.locator(f"#chart .{layer}")
        expect(drawn).to_have_attribute("d", re.compile("M.+L.+"))
    expect(page.locator("#chart")).to_contain_text("+24 ticks")
    page.locator("#steps").select_option("96")
    expect(page.locator("#chart")).to_contain_text("+96 ticks")
    facts = page.locator("#facts > div").all_inner_texts()
    whole = get(stage, f"/instruments/{name}")
    assert f"Offset\n{whole['offset']:,}" in facts


def test_points_of_the_chart_can_be_told_apart_with_the_keyboard(
    opened: Open, stage: Stage
) -> None:
    page = opened(stage.url)
    chart = page.locator("#chart")
    expect(page.locator("#chart .run")).to_have_count(1)
    chart.focus()

    chart.press("ArrowLeft")
    expect(chart).to_have_attribute("aria-valuetext", re.compile("^1 commit ago: .+ (in|out)side"))
    chart.press("End")
    expect(chart).to_have_attribute("aria-valuetext", re.compile("^24 ticks ahead: .+ interval"))
    expect(page.locator("#chart-said")).to_contain_text("24 ticks ahead")


# Finding


def test_search_is_by_a_part_of_the_name(opened: Open, stage: Stage) -> None:
    page = opened(stage.url)
    wanted = listed(stage, "limit=1")[0][:2].lower()

    page.keyboard.press("/")
    page.keyboard.type(wanted)

    found = listed(stage, f"search={wanted}")
    expect(names(page)).to_have_text(found)
    expect(page.locator("#range")).to_have_text(f"1{DASH}{len(found)} of {len(found)}")
    page.locator("#search").fill("no such one")
    expect(page.locator("#empty-said")).to_contain_text("matches “no such one”")
    expect(rows(page)).to_have_count(0)


def test_a_page_holds_so_many_rows_and_leads_to_the_next(opened: Open, stage: Stage) -> None:
    page = opened(stage.url)
    page.locator("#size").select_option("25")
    expect(rows(page)).to_have_count(25)

    page.get_by_label("Next page").click()

    expect(names(page)).to_have_text(listed(stage, "offset=25"))
    expect(page.locator("#range")).to_have_text(f"26{DASH}40 of 40")
    expect(page.get_by_label("Next page")).to_be_disabled()


@pytest.mark.parametrize("head", ["Last", "Forecast", "90 % interval", "Skill", "Coverage"])
def test_a_column_head_sorts_all_instruments(opened: Open, stage: Stage, head: str) -> None:
    page = opened(stage.url)
    sort = {"Last": "value", "90 % interval": "width"}.get(head, head.lower())
    button = page.locator(f"th[data-sort={sort}] button")
    expect(button).to_have_text(head)

    button.click()
    expect(names(page)).to_have_text(listed(stage, f"sort={sort}&descending=true"))
    expect(page.locator(f"th[data-sort={sort}]")).to_have_attribute("aria-sort", "descending")
    button.click()
    expect(names(page)).to_have_text(listed(stage, f"sort={sort}"))


def test_an_address_with_a_name_opens_the_instrument(opened: Open, stage: Stage) -> None:
    name = listed(stage, "offset=7&limit=1")[0]

    page = opened(f"{stage.url}/#/{quote(name)}")

    expect(page.locator("#detail-name")).to_have_text(name)


def test_an_address_that_cannot_be_read_opens_the_list(opened: Open, stage: Stage) -> None:
    page = opened(f"{stage.url}/#/%")

    expect(names(page)).to_have_text(listed(stage, "sort=name&limit=100"))


def test_a_slot_leads_to_its_instrument(opened: Open, stage: Stage) -> None:
    page = opened(stage.url, height=1400)
    slots = page.locator("#slot-map")
    expect(page.locator("#slot-said")).to_contain_text("held")
    slots.focus()

    for _ in range(4):
        slots.press("ArrowRight")
    held = listed(stage, "slot=3")[0]
    expect(page.locator("#slot-said")).to_contain_text(f"Slot 3: {held}")
    slots.press("Enter")

    expect(page.locator("#detail-name")).to_have_text(held)
    page.locator("#measure").select_option("coverage")
    expect(page.locator("#scale-low")).to_have_text("80.0 %")


COLOURS_OF_SLOTS = """
    (slots) => {
      const canvas = document.getElementById("slot-map");
      const cell = 16 * devicePixelRatio;
      const columns = Math.round(canvas.width / cell);
      const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return slots.map((slot) => {
        const place = [slot % columns, Math.floor(slot / columns)];
        const [x, y] = place.map((n) => Math.round((n + 0.4) * cell));
        return image.data.slice(4 * (y * image.width + x)).slice(0, 4).join();
      });
    }
"""


def test_the_colour_of_a_slot_says_its_skill(opened: Open, stage: Stage) -> None:
    page = opened(stage.url, height=1400)
    expect(page.locator("#slot-said")).to_contain_text("held")
    best, *_ = get(stage, "/instruments?sort=skill&descending=true&limit=1")["instruments"]
    worst, *_ = get(stage, "/instruments?sort=skill&limit=1")["instruments"]

    slots = [best["slot"], worst["slot"], 40, 41]
    best_is, worst_is, free_is, also_free = page.evaluate(COLOURS_OF_SLOTS, slots)

    assert free_is == also_free
    assert len({best_is, worst_is, free_is}) == 3


# A free run


def test_a_free_run_follows_the_last_tick(opened: Open, servers: ExitStack) -> None:
    """Also where the tick came too soon after the last run, and none follows."""
    stage = servers.enter_context(Stage(2))
    stage.tick(200)
    name = listed(stage, "limit=1")[0]
    runs: list[int] = []

    page = opened("about:blank")
    page.on("response", lambda got: runs.append(got.json()["offset"]) if "steps" in got.url else 0)
    page.goto(f"{stage.url}/#/{name}")
    expect(page.locator("#chart .run")).to_have_count(1)
    stage.tick(20)
    last = get(stage, f"/instruments/{name}")["offset"]
    expect(page.locator("#facts")).to_contain_text(f"{last:,}")

    deadline = time.monotonic() + PATIENCE_MS / 1e3
    while runs[-1:] != [last] and time.monotonic() < deadline:
        page.wait_for_timeout(100)
    assert runs[-1] == last


# Resets


def test_a_reset_is_asked_sent_and_told(opened: Open, servers: ExitStack) -> None:
    stage = servers.enter_context(Stage(6))
    stage.tick(200)
    name = listed(stage, "limit=1")[0]
    page = opened(f"{stage.url}/#/{name}")

    page.locator("#reset").click()
    expect(page.locator("#asking")).to_contain_text(f"Reset {name}?")
    page.locator("#refrain").click()
    assert listed(stage, "limit=1") == [name]
    page.locator("#reset").click()
    page.locator("#confirm").click()

    expect(page.locator("#done")).to_contain_text(f"Reset of {name} is committed")
    assert name not in listed(stage, "")
    expect(names(page)).to_have_text(listed(stage, ""))
    expect(page.locator("#detail-fault")).to_contain_text("Its memory was reset")
    stage.tick(200)
    expect(page.locator("#detail-fault")).to_be_hidden()
    expect(names(page)).to_have_text(listed(stage, ""))


@pytest.mark.complains("status of 401")
def test_the_token_is_asked_for_once(opened: Open, servers: ExitStack) -> None:
    stage = servers.enter_context(Stage(6, token="open sesame ü"))
    stage.tick(200)
    page = opened(stage.url, height=1400)
    fault, said = page.locator("#asking-fault"), page.locator("#done")

    page.get_by_label("Reset partition 0…").click()
    page.locator("#confirm").click()
    expect(fault).to_have_text("The service wants its token.")
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(fault).to_have_text("The service does not take this token.")
    page.keyboard.type("open sesame ü")
    page.keyboard.press("Enter")
    expect(said).to_contain_text("Reset of partition 0 is committed")

    page.reload()
    page.get_by_role("button", name="Reset all…").click()
    page.locator("#confirm").click()
    expect(said).to_contain_text("Reset of all instruments is committed (2 records)")
    assert get(stage, "/instruments")["total"] == 0


def test_an_answer_is_for_its_own_question(opened: Open, servers: ExitStack) -> None:
    stage = servers.enter_context(Stage(6))
    stage.tick(200)
    page = opened(stage.url, height=1400)
    held: list[Route] = []

    def hold(route: Route) -> None:  # the driver marks what it calls: no method of a list
        held.append(route)

    page.route("**/reset", hold)
    page.get_by_label("Reset partition 0…").click()
    page.locator("#confirm").click()
    expect(page.locator("#confirm")).to_be_disabled()
    page.locator("#refrain").click()
    page.get_by_label("Reset partition 1…").click()

    held[0].continue_()

    expect(page.locator("#done")).to_contain_text("Reset of partition 0 is committed")
    expect(page.locator("#asking")).to_contain_text("Reset partition 1?")
    expect(page.locator("#confirm")).to_be_enabled()


# Several workers


@pytest.mark.complains("status of (404|503)")
def test_the_list_is_of_all_workers_or_says_what_it_lacks(opened: Open, servers: ExitStack) -> None:
    stage = servers.enter_context(Stage(12, workers=2))
    stage.broker.assign(stage.services[1].worker.parts.log, 1)
    stage.tick(600)
    everyone, here = sorted(stage.market.names), listed(stage, "workers=this")
    (away, *_) = [name for name in everyone if name not in here]

    page = opened(stage.url, height=1400)

    expect(names(page)).to_have_text(everyone)
    expect(page.locator("#range")).to_have_text(f"1{DASH}12 of 12")
    expect(page.locator("#worker")).to_have_text("worker-0, one of 2 workers")
    expect(page.locator("#partitions tbody tr").nth(1)).to_contain_text("at worker-1")
    page.locator("#search").fill(away)
    expect(names(page)).to_have_text([away])
    names(page).first.click()
    expect(page.locator("#detail-where")).to_contain_text("partition 1")
    expect(page.locator("#detail-where")).to_contain_text("worker-1")
    expect(page.locator("#chart .run")).to_have_count(1)
    before = number(rows(page).first.locator("td").last.inner_text())
    stage.tick(600)
    expect(rows(page).first.locator("td").last).not_to_have_text(f"{before:,.0f}")
    page.locator("#search").fill("")
    stage.services[1].stop()
    expect(page.locator("#missing")).to_contain_text("Without partition 1: no worker has")
    expect(names(page)).to_have_text(here)


@pytest.mark.complains("status of 404")
def test_an_instrument_that_nobody_has_is_said_to_be_unknown(opened: Open, stage: Stage) -> None:
    page = opened(f"{stage.url}/#/nobody")

    expect(page.locator("#detail-fault")).to_contain_text("no instrument 'nobody'")


def test_a_slot_is_one_of_this_worker(opened: Open, servers: ExitStack) -> None:
    stage = servers.enter_context(Stage(12, workers=2))
    stage.broker.assign(stage.services[1].worker.parts.log, 1)
    stage.tick(600)
    (mine,) = listed(stage, "workers=this&slot=0")
    page = opened(stage.url, height=1400)
    slots = page.locator("#slot-map")
    expect(page.locator("#slot-said")).to_contain_text("held")
    slots.focus()

    slots.press("ArrowRight")
    expect(page.locator("#slot-said")).to_contain_text(f"Slot 0: {mine}")


@pytest.mark.complains("status of 503")
def test_without_a_registry_nothing_is_said_to_be_reset(opened: Open, servers: ExitStack) -> None:
    stage = servers.enter_context(Stage(12, workers=2))
    stage.broker.assign(stage.services[1].worker.parts.log, 1)
    stage.tick(600)
    here = listed(stage, "workers=this")
    (away, *_) = [name for name in stage.market.names if name not in here]
    page = opened("about:blank")
    page.route("**/workers", lambda route: route.fulfill(status=503, json={"title": "away"}))

    page.goto(f"{stage.url}/#/{away}")

    expect(page.locator("#chart .run")).to_have_count(1)
    stage.tick(100)
    expect(page.locator("#facts")).to_contain_text(f"{get(stage, f'/instruments/{away}')['ticks']}")
    expect(page.locator("#detail-fault")).to_be_hidden()


# Losing the service


@pytest.mark.complains("ERR_(CONNECTION_REFUSED|INCOMPLETE_CHUNKED_ENCODING)|status of 50")
def test_a_lost_service_is_said_to_be_lost(opened: Open, servers: ExitStack) -> None:
    stage = servers.enter_context(Stage(6))
    stage.tick(100)
    page = opened(stage.url)
    expect(page.locator("#link")).to_have_text("Live")

    servers.close()

    expect(page.locator("#link")).to_have_text("Disconnected")
    expect(page.locator("#lost")).to_contain_text("trying to reach the service again")
