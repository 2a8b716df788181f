"""The live page in a browser, over a real worker."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Open
from tests.browser.stage import Stage

pytestmark = pytest.mark.timeout(300)  # the first one may wait for the compiler
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


# Several workers


@pytest.mark.complains("status of 404")
def test_what_another_worker_holds_is_found_by_its_name(opened: Open, servers: ExitStack) -> None:
    stage = servers.enter_context(Stage(12, workers=2))
    stage.broker.assign(stage.services[1].worker.parts.log, 1)
    stage.tick(600)
    here = listed(stage, "workers=this")
    (away, *_) = [name for name in stage.market.names if name not in here]
    page = opened(stage.url, height=1400)

    expect(page.locator("#partitions tbody tr").nth(1)).to_contain_text("at worker-1")
    said = f"1{DASH}{len(here)} of {len(here)} here, 12 on all workers"
    expect(page.locator("#range")).to_have_text(said)
    page.locator("#search").fill(away)
    expect(page.locator("#range")).to_have_text("0 here, 1 on all workers")
    page.locator("#elsewhere").click()

    expect(page.locator("#detail-name")).to_have_text(away)
    expect(page.locator("#detail-where")).to_contain_text("partition 1")
    expect(page.locator("#detail-where")).to_contain_text("worker-1")
    expect(page.locator("#chart .run")).to_have_count(1)
    page.locator("#search").fill("nobody")
    page.locator("#elsewhere").click()
    expect(page.locator("#detail-fault")).to_contain_text("no instrument 'nobody'")


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
