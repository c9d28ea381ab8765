"""The buttons of the status page, pressed in Chromium, with a real Label Studio behind them."""

import pytest
from playwright.sync_api import expect

from backend.worker.dataset import is_validation
from tests.browser.pages import ARTEFACTS
from tests.studio.loop import PASSWORD, QUICK, USER, Loop, make_pictures, make_project
from tests.studio.processes import wait_for

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1800)]
PATIENCE_MS = 120_000


@pytest.fixture
def work(studio, tmp_path):
    """A connected project with a few labels and no model."""
    loop = Loop(studio, tmp_path / "backend", KEEP_VERSIONS="9")
    try:
        loop.start_web()
        loop.start_worker()
        made = make_project(loop, make_pictures(tmp_path / "pictures", 14, size=64), "Buttons")
        fraction = float(QUICK["VALIDATION_FRACTION"])
        tasks = made.tasks()
        apart = [task for task in tasks if is_validation(made.id, task["id"], fraction)]
        others = [task for task in tasks if task not in apart]
        for task in apart[:2] + others[:4]:
            made.label(task)
        yield made
    finally:
        loop.close()


@pytest.fixture
def page(chromium, work):
    context = chromium.new_context(http_credentials={"username": USER, "password": PASSWORD})
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    yield context.new_page()
    context.close()


# long: one project; each button needs what those before it left
def test_train_roll_back_unpin_and_promote_do_what_they_say(work, page):
    url = f"{work.loop.url}/projects/{work.id}"

    def press(name, said):
        """Press a button of the page as it is now; the page says that it was recorded."""
        # The page offers no button while the worker still has something to do that was asked for.
        wait_for(lambda: work.loop.store.project(work.id).state.asked is None, "the last request")
        page.goto(url)
        page.get_by_role("button", name=name, exact=True).click()
        expect(page.get_by_text(said)).to_be_visible()

    def served(version):
        wait_for(lambda: work.version() == version, f"{version} to be served")

    versions = [work.version()]
    for number in (2, 3):
        press("Start Training", "Start Training was recorded")
        work.wait_for_round(number)
        versions.append(work.version())
    second, third = versions[1:]
    assert len({*versions}) == 3

    press(f"Roll back to {second}", "roll back was recorded")
    served(second)
    wait_for(lambda: work.loop.store.project(work.id).state.asked_result, "what became of it")
    page.goto(url)
    expect(page.get_by_text(f"Rolled back: {second} is served and pinned")).to_be_visible()
    page.screenshot(path=ARTEFACTS / "14-rolled-back.png", full_page=True)
    assert work.loop.store.project(work.id).state.pinned == second

    press("Unpin", "unpinning was recorded")
    served(third)
    assert not work.loop.store.project(work.id).state.pinned

    models = {row.version: row.model for row in work.loop.store.versions(work.id)}
    press(f"Promote {second}", "promotion was recorded")
    work.wait_for_round(4)
    state = work.loop.store.project(work.id).state
    assert state.promoted == state.model == models[second] and work.version() not in versions
    work.check_whole()

    press("Unpin", "unpinning was recorded")
    wait_for(lambda: not work.loop.store.project(work.id).state.promoted, "the promotion's end")
    page.goto(url)
    expect(page.get_by_role("button", name="Unpin")).to_have_count(0)
