"""Airflow's pages as a data engineer and an auditor use them, in Debian's Chromium: the form, the grid, the report, refusals."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from deepiri.registry import DOMAINS
from mongo2pg.dag.params import LIMITS, READING, VERIFYING
from tests.documents import fill, oid, point, skill_tree, user

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed (Debian: apt-get install chromium)")

DAG_IDS = {domain.name for domain in DOMAINS} | {"platform", "reconcile"}
# What a page may take on a machine that does other things too, and what a run may take there.
PAGE, RUN = 60_000, 300_000
# A colour however it is written, as three numbers.
RGB = """element => {
    const context = document.createElement("canvas").getContext("2d");
    context.fillStyle = getComputedStyle(element).backgroundColor;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
}"""


# ---------------------------------------------------------------------------------------------------------- who looks


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Ends with the module: while Playwright is there, nothing else in this process may have an event loop."""
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--no-proxy-server", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        expect.set_options(timeout=PAGE)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def place(airflow: Any) -> Any:
    """An Airflow that knows all DAGs, a source with documents, and a target without a single table."""
    fill(
        airflow.source,
        users=[user(number, **{"undeclared" * 30: number}) for number in range(1, 6)],
        skilltrees=[skill_tree(301, oid(1))],
        progresspoints=[point(401, oid(1))],
    )
    with airflow.target.connect(autocommit=True) as conn:
        conn.execute("DROP SCHEMA IF EXISTS migration CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    for dag_id in DAG_IDS:
        airflow.client.wait_for_dag(dag_id)
    return airflow


def session(chromium: Browser, airflow: Any, name: str) -> Iterator[BrowserContext]:
    """Somebody who has logged in."""
    context = chromium.new_context(base_url=airflow.server.url, viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(PAGE)
    page = context.new_page()
    page.goto("/dags")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(airflow.server.passwords[name])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/dags")
    page.close()
    yield context
    context.close()


@pytest.fixture(scope="module")
def engineers(chromium: Browser, place: Any) -> Iterator[BrowserContext]:
    yield from session(chromium, place, "engineer")


@pytest.fixture(scope="module")
def auditors(chromium: Browser, place: Any) -> Iterator[BrowserContext]:
    yield from session(chromium, place, "auditor")


@pytest.fixture
def engineer(engineers: BrowserContext) -> Iterator[Page]:
    """A data engineer's empty page."""
    with engineers.new_page() as page:
        yield page


@pytest.fixture
def auditor(auditors: BrowserContext) -> Iterator[Page]:
    """An auditor's empty page."""
    with auditors.new_page() as page:
        yield page


# --------------------------------------------------------------------------------------------------- what they look at


def form_of_auth(page: Page) -> Locator:
    """The trigger form, open."""
    page.goto("/dags/auth", wait_until="commit")
    page.get_by_role("button", name="Trigger").first.click()
    form = page.get_by_role("dialog").filter(has=page.get_by_role("heading", name="Trigger Dag - auth"))
    expect(form.get_by_role("combobox", name="Mode")).to_be_visible()
    return form


def open_part(form: Locator, part: str) -> None:
    """A part of the form; the one that was open closes."""
    form.get_by_role("button", name=part).click()
    expect(form.get_by_role("button", name=part)).to_have_attribute("aria-expanded", "true")


def run_ids(airflow: Any) -> set[str]:
    runs = airflow.client.request("GET", "/dags/auth/dagRuns", params={"limit": 100})["dag_runs"]
    return {run["dag_run_id"] for run in runs}


@pytest.fixture(scope="module")
def moved(engineers: BrowserContext, place: Any) -> str:
    """The id of the run that a data engineer starts in the form: mode full, all else as it is offered."""
    before = run_ids(place)
    with engineers.new_page() as page:
        form = form_of_auth(page)
        form.get_by_role("combobox", name="Mode").click()
        page.get_by_role("option", name=re.compile("^full:")).click()
        form.get_by_role("button", name="Trigger").click()
        expect(
            page.get_by_text("Dag run has been successfully triggered.").first
        ).to_be_visible()  # it is there twice while it fades in
    (run_id,) = run_ids(place) - before
    return run_id


def report_page(run_id: str) -> str:
    return f"/migration-report/dags/auth/runs/{run_id.replace('+', '%2B')}/report.html"


def books(airflow: Any, run_id: str) -> tuple[str, str, str]:
    """The run's mode and state and the sha256 of its report."""
    with airflow.target.connect(autocommit=True) as conn:
        query = b"SELECT mode, state, report_sha256 FROM migration.runs WHERE run_id = %s"
        found: tuple[str, str, str] = conn.execute(query, (run_id,)).fetchone()
        return found


# ------------------------------------------------------------------------------------------------------ a data engineer


def test_a_data_engineer_sees_every_dag(engineer: Page) -> None:
    engineer.goto("/dags", wait_until="commit")
    expect(engineer.get_by_role("heading", name=f"{len(DAG_IDS)} Dags")).to_be_visible()
    for dag_id in DAG_IDS:
        expect(engineer.get_by_role("link", name=dag_id, exact=True).first).to_be_visible()


def test_the_form_asks_for_little_and_keeps_the_rest_in_parts_with_names(engineer: Page) -> None:
    form = form_of_auth(engineer)
    for title in ("Mode", "From", "To", "Collections"):
        expect(form.get_by_role("group").filter(has_text=re.compile(f"^{title}"))).to_be_visible()
    parts = {
        READING: ("Chunk size in MB", "64"),
        VERIFYING: ("Round trip", "0.001"),
        LIMITS: ("Rejected documents at most", "0.01"),
    }
    for part, (title, offered) in parts.items():
        box = form.get_by_role("spinbutton", name=title)
        expect(box).not_to_be_visible()
        open_part(form, part)
        expect(box).to_be_visible()
        expect(box).to_have_value(offered)


def test_a_required_field_that_is_empty_is_marked_and_nothing_can_be_triggered(engineer: Page) -> None:
    form = form_of_auth(engineer)
    open_part(form, READING)
    box = form.get_by_role("spinbutton", name="Chunk size in MB")
    box.fill("")
    box.blur()
    expect(form.get_by_text("This field is required")).to_be_visible()
    expect(form.get_by_role("button", name="Trigger")).to_be_disabled()
    box.fill("0")
    box.blur()
    expect(box).to_have_value("1")  # the least there is
    expect(form.get_by_text("This field is required")).not_to_be_visible()
    expect(form.get_by_role("button", name="Trigger")).to_be_enabled()


def test_a_run_that_is_triggered_in_the_form_becomes_green_in_the_grid(engineer: Page, moved: str, place: Any) -> None:
    engineer.goto("/dags/auth", wait_until="commit")
    for task in ("prepare", "move", "checksums", "round_trip", "gate"):
        badge = engineer.get_by_test_id(f"grid-{moved}-{task}").get_by_test_id("task-state-badge")
        expect(badge).to_be_visible()
    engineer.goto("/dags/auth/runs", wait_until="commit")
    row = engineer.get_by_role("row").filter(has_text=moved)
    expect(row).to_contain_text("Success", timeout=RUN)
    expect(row).to_contain_text("engineer")
    engineer.goto("/dags/auth", wait_until="commit")
    for task in ("prepare", "move", "checksums", "round_trip", "gate"):
        badge = engineer.get_by_test_id(f"grid-{moved}-{task}").get_by_test_id("task-state-badge")
        expect(badge).to_be_visible()
        red, green, blue = badge.evaluate(RGB)
        assert green > max(red, blue), task
    assert books(place, moved)[:2] == ("full", "passed")


# ----------------------------------------------------------------------------------------------------------- an auditor


@pytest.fixture(scope="module")
def done(moved: str, place: Any) -> str:
    """The id of the same run, which has ended."""
    assert place.client.wait_for_run("auth", moved) == "success"
    return moved


def test_an_auditor_reads_the_certificate_in_the_run_s_tab(auditor: Page, done: str, place: Any) -> None:
    auditor.goto(f"/dags/auth/runs/{done}", wait_until="commit")
    auditor.get_by_role("link", name="Report", exact=True).click()
    certificate = auditor.frame_locator("iframe[title=Report]")
    expect(certificate.get_by_role("heading", name="Migration from MongoDB to PostgreSQL: auth")).to_be_visible()
    expect(certificate.locator("header .verdict strong")).to_have_text("passed")
    expect(certificate.locator("header")).to_contain_text(done)
    expect(certificate.locator("header")).to_contain_text(f"sha256 {books(place, done)[2]}")
    for end in ("Source", "Target"):
        expect(certificate.locator(f"dt:text-is('{end}') + dd")).to_contain_text("the database deepiri on 127.0.0.1:")


def test_an_auditor_who_triggers_is_refused_and_no_run_starts(auditor: Page, done: str, place: Any) -> None:
    """Airflow shows its form to whoever sees the DAG."""
    before = run_ids(place)
    form = form_of_auth(auditor)
    with auditor.expect_response(lambda answer: answer.url.endswith("/dags/auth/dagRuns")) as answer:
        form.get_by_role("button", name="Trigger").click()
    assert answer.value.status == 403
    expect(auditor.get_by_text("Forbidden").first).to_be_visible()
    assert run_ids(place) == before


def test_the_certificate_asks_nobody_for_anything_and_runs_no_script(auditor: Page, done: str, place: Any) -> None:
    asked: list[str] = []
    said: list[str] = []
    auditor.on("request", lambda request: asked.append(request.url))
    auditor.on("console", lambda message: said.append(message.text))
    auditor.on("pageerror", lambda error: said.append(str(error)))
    auditor.goto(report_page(done), wait_until="networkidle")
    expect(auditor.locator("header .verdict strong")).to_have_text("passed")
    assert asked == [place.server.url + report_page(done)]
    assert said == []
    assert auditor.locator("script, link, img, iframe, object, embed").count() == 0
    # Its own style is let through by its policy; a script that somebody slips in is not.
    assert auditor.locator("body").evaluate("body => getComputedStyle(body).maxWidth") != "none"
    auditor.evaluate("document.body.append(Object.assign(document.createElement('script'), {textContent: 'slipped = 1'}))")
    assert auditor.evaluate("typeof slipped") == "undefined"
    assert len(said) == 1
    assert "Content Security Policy" in said[0]


def test_the_certificate_prints_with_nothing_cut_off(auditor: Page, done: str) -> None:
    auditor.goto(report_page(done))
    printed = auditor.pdf(prefer_css_page_size=True)
    assert printed.startswith(b"%PDF-")
    sizes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", printed)
    assert sizes
    assert all(float(width) > float(height) for width, height in sizes)  # A4, landscape, as the page asks
    # As wide as A4 has room between the margins that the page asks for: 269 mm at 96 dots an inch.
    auditor.emulate_media(media="print")
    auditor.set_viewport_size({"width": 1017, "height": 700})
    assert auditor.evaluate("document.documentElement.scrollWidth") <= 1017
