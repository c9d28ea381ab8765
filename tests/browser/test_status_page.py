"""The status page in Chromium: every state, light and dark, with axe's rules, by keyboard, live.

The screenshots go to artefacts/browser; docs/images/status.jpg is one of them.
"""

import re
import threading
from types import SimpleNamespace

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from werkzeug.serving import WSGIRequestHandler, make_server

from backend.settings import load_settings
from backend.web.app import create_app
from tests.backend.web.status_cases import Filled
from tests.browser.pages import ARTEFACTS

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
STATES = ["empty", "cold", "working", "with_pictures", "failed", "left_out", "many"]
ALL_VIEWS = [(1440, "light"), (390, "dark"), (1440, "dark"), (390, "light")]
AXE_RULES = {
    (1440, "light"): ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"],
    (390, "dark"): {"type": "rule", "values": ["color-contrast"]},
}
CONTRASTS = ("left_out", "with_pictures", "many")  # all colours of the style sheet


class Quiet(WSGIRequestHandler):
    def log(self, *_):
        pass


@pytest.fixture
def site(tmp_path):
    """A web process with an empty store."""
    settings = load_settings(model_dir=tmp_path, label_studio_url="http://studio.example")
    app = create_app(settings)
    store = app.extensions["taudis"].store
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    filled = Filled(store, settings)
    yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}", store=store, filled=filled)
    server.shutdown()
    server.server_close()
    store.close()


@pytest.fixture
def page(chromium, request):
    """A page; the parameter says whether scripts run."""
    context = chromium.new_context(java_script_enabled=getattr(request, "param", True))
    context.set_default_timeout(20_000)
    expect.set_options(timeout=20_000)
    faults = []
    page = context.new_page()
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    yield page
    context.close()
    assert faults == []


@pytest.mark.parametrize("state", STATES)
def test_every_state_is_readable_and_has_no_finding_of_axe(site, page, state):
    if state != "empty":
        getattr(site.filled, state)()
    page.goto(site.url)
    page.evaluate(
        "Promise.all([...document.images].map(i => { i.loading = 'eager'; return i.decode() }))"
    )
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    for width, scheme in ALL_VIEWS:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=ARTEFACTS / f"status-{state}-{width}-{scheme}.png", full_page=True)
        rules = AXE_RULES.get((width, scheme))
        if rules and (scheme == "light" or state in CONTRASTS):
            found = Axe().run(page, options={"runOnly": rules, "resultTypes": ["violations"]})
            assert found.violations_count == 0, found.generate_report()
    if state == "with_pictures":
        page.set_viewport_size({"width": 1200, "height": 1380})
        page.emulate_media(color_scheme="light")
        page.screenshot(path=ARTEFACTS / "status.jpg", type="jpeg", quality=80)


def test_the_keyboard_reaches_everything_and_presses_buttons(site, page):
    site.filled.left_out()
    page.goto(site.url)
    wanted = page.locator("a, button, summary, .scroll").count()
    reached = []
    for _ in range(wanted + 5):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "() => { const e = document.activeElement; e.dataset.reached = '1';"
                " return [e.className, getComputedStyle(e).outlineStyle] }"
            )
        )
    hidden = page.locator("details:not([open]) .scroll, .stale a").count()
    assert page.locator("[data-reached]:not(body)").count() == wanted - hidden
    assert reached[0][0] == "skip" and all(
        outline != "none" for _, outline in reached[: wanted // 2]
    )
    page.get_by_role("button", name="Start Training").focus()
    page.keyboard.press("Enter")
    page.get_by_text("Start Training was recorded").wait_for()
    assert site.store.event_counts(7) == {"train": 1}


@pytest.mark.parametrize("page", [False], indirect=True)
def test_without_scripts_it_says_and_does_the_same(site, page):
    site.filled.working()
    page.goto(site.url)
    expect(page.locator("#live-now")).to_contain_text("training 120 of 400, about 2 min left")
    page.get_by_role("button", name="Roll back to taudis-0003-65a1").click()
    page.get_by_text("The worker was asked to roll back to taudis-0003-65a1").wait_for()
    assert site.store.project(7).state.asked["action"] == "rollback"
    site.store.report(site.filled.lease, site.store.rounds(7, 1)[0].id, {"step": "scored"})
    page.get_by_role("link", name="Reload", exact=True).click()
    expect(page.locator("#live-now")).to_contain_text("looking at the unlabelled images")


def test_what_happens_now_is_kept_up_to_date_and_nothing_else_moves(site, page):
    site.filled.working()
    page.goto(site.url)
    round_ = site.store.rounds(7, 1)[0]
    table = page.get_by_role("table", name=re.compile("Kept versions")).element_handle()
    page.get_by_text("The curve as a table").click()
    site.store.report(
        site.filled.lease, round_.id, {"step": "trained", "done": 260, "total": 400, "eta_s": 40}
    )
    page.get_by_text("training 260 of 400, about 40 s left").wait_for()
    expect(page.locator("#stale")).to_be_hidden()
    site.store.end_round(site.filled.lease, round_.id, "served", "")
    expect(page.locator("#stale")).to_be_visible()
    expect(page.locator("#said")).to_contain_text("Ready")  # read out by screen readers
    assert table.is_visible() and page.locator("details[open]").count() == 1
