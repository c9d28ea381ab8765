"""Label Studio's pages in a browser: presses buttons as a person does, and reads what is drawn."""

import base64
import re
import time
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Browser, Page, expect

from demo.studio import Login

ARTEFACTS = Path(__file__).resolve().parents[2] / "artefacts" / "browser"
PATIENCE_MS = 90_000.0
TASK = ".lsf-current-task__task-id"
REGION = ".lsf-outliner-item"
IMAGE = 'img[src^="blob:"]'
TAB = ".lsf-tabs-dm__item"
ROW = ".lsf-table-row"
META = ".lsf-detailed-region__meta-text"


class Pages:
    """One person's browser with a labelling tab and others. Every wait has a time limit.

    Args:
        browser: where a context of its own is made.
        url: Label Studio's address.
        project: the project whose pages are opened.
    """

    def __init__(self, browser: Browser, url: str, project: int) -> None:
        self.url, self.project = url, project
        self.faults: list[str] = []  # answers from 500 on, of Label Studio to its own pages
        self.context = browser.new_context(viewport={"width": 1400, "height": 900})
        self.context.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        self.context.on(
            "response",
            lambda r: self.faults.append(f"{r.status} {r.url}") if r.status >= 500 else None,
        )
        self.page = self.context.new_page()

    def close(self, name: str) -> None:
        """Save a last screenshot of the labelling tab, and close the browser."""
        self.keep(name)
        self.context.close()

    def keep(self, name: str, page: Page | None = None) -> None:
        """Save a screenshot to the test's artefacts."""
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        (page or self.page).screenshot(path=ARTEFACTS / f"{name}.png")

    def _open(self, path: str, page: Page | None = None) -> Page:
        page = page or self.page
        page.goto(f"{self.url}{path}", wait_until="domcontentloaded")
        return page

    # --- pages ------------------------------------------------------------------------------

    def log_in(self, login: Login) -> None:
        """Fill in the login form."""
        page = self._open("/user/login/")
        page.fill("input[name=email]", login.email)
        page.fill("input[name=password]", login.password)
        self.keep("01-login")
        page.click("button[type=submit]")
        page.wait_for_url(lambda u: "/user/login" not in u, wait_until="domcontentloaded")

    def connect_model(self, title: str, url: str, user: str, password: str) -> dict:
        """Add a model by the Model page's form; returns the request body that the page sent."""
        page = self._open(f"/projects/{self.project}/settings/ml")
        page.get_by_text("Connect Model", exact=True).last.click()
        page.fill("input[name=title]", title)
        page.fill("input[name=url]", url)
        page.click("[data-name=auth_method]")
        page.get_by_text("Basic Authentication", exact=True).last.click()
        page.fill("input[name=basic_auth_user]", user)
        page.fill("input[name=basic_auth_pass]", password)
        self.keep("02-model-form")
        with page.expect_response(
            lambda r: r.url.endswith("/api/ml") and r.request.method == "POST"
        ) as answer:
            page.get_by_role("button", name="Save machine learning form").click()
        assert answer.value.status == 201, answer.value.text()
        # Seen twice once, under load: counting waits, and a model connected twice still fails.
        expect(page.get_by_text("Connected", exact=True)).to_have_count(1)
        expect(page.get_by_text("Connected", exact=True)).to_be_visible()
        expect(page.get_by_text(url, exact=True)).to_be_visible()
        self.keep("03-model-connected")
        return answer.value.request.post_data_json

    def start_training(self) -> Page:
        """Press Start Training in the model's menu, in a second tab, and again in its dialog."""
        page = self._open(f"/projects/{self.project}/settings/ml", self.context.new_page())
        page.get_by_role("button", name="Machine learning model options").click()
        page.get_by_text("Start Training", exact=True).click()
        with page.expect_response(lambda r: r.url.endswith("/train")) as answer:
            page.get_by_role("button", name="Start Training").click()
        assert answer.value.ok, answer.value.text()
        return page

    def status_page(self, url: str, user: str, password: str) -> Page:
        """The backend's status page in another tab; the browser sends the basic auth."""
        page = self.context.new_page()
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        page.set_extra_http_headers({"Authorization": f"Basic {pair}"})
        page.goto(url, wait_until="domcontentloaded")
        return page

    def listed_tasks(self, tab: str) -> list[int]:
        """Open the project and one of its tabs; ids of the tasks as the table lists them."""
        page = self._open(f"/projects/{self.project}/data")
        with page.expect_response(lambda r: "/api/tasks?" in r.url):
            page.locator(TAB, has_text=tab).first.click()
        page.locator(ROW).first.wait_for()
        self._settle_table()
        return [int(text.split()[0]) for text in page.locator(ROW).all_inner_texts()]

    def _settle_table(self) -> None:
        """Wait until the table has the rows that its foot counts."""
        foot = self.page.get_by_text(re.compile(r"^Tasks: \d+ / \d+$")).inner_text()
        expect(self.page.locator(ROW)).to_have_count(int(foot.split()[1]))

    def label_all_tasks(self, tab: str = "") -> dict:
        """Press Label All Tasks in the project's tab; returns the task that the page received."""
        page = self._open(f"/projects/{self.project}/data")
        if tab:
            page.locator(TAB, has_text=tab).first.click()
            page.wait_for_url(re.compile(r"tab=\d+"))
        with page.expect_response(lambda r: "id=next_task" in r.url) as answer:
            page.get_by_text("Label All Tasks", exact=True).click()
        return self._opened(answer.value.json())

    # --- the labelling page -----------------------------------------------------------------

    def _opened(self, task: dict) -> dict:
        """Wait until the page has this task with its image and its regions."""
        number = re.compile(rf"^#?{task['id']}\s")  # "34", and below it "1 of 1"
        expect(self.page.locator(TASK)).to_have_text(number, use_inner_text=True)
        self.page.wait_for_function(
            "([image, number]) => document.querySelector(image)?.naturalWidth > 1"
            " && Htx.annotationStore.selected?.regions.length === number",
            arg=[
                IMAGE,
                len({row["id"] for each in task["predictions"][:1] for row in each["result"]}),
            ],
        )
        self._settle()
        return task

    def _settle(self) -> None:
        """Wait until two screenshots are equal: masks are painted after the list of regions."""
        limit, last = time.monotonic() + PATIENCE_MS / 1000, b""
        self.page.mouse.move(500, 20)  # no brush cursor over the picture
        while (now := self._picture_png()) != last:
            assert time.monotonic() < limit, "the picture does not come to rest"
            last = now
            self.page.wait_for_timeout(400)

    def _picture_png(self) -> bytes:
        """A screenshot of the picture alone, without the messages elsewhere on the page."""
        return self.page.screenshot(clip=self.page.locator(IMAGE).bounding_box())

    def regions(self) -> list[str]:
        """Ids of the regions of the open annotation, from the editor's own state."""
        return self.page.evaluate("() => Htx.annotationStore.selected.regions.map(r => r.cleanId)")

    def listed_labels(self) -> list[str]:
        """Labels in the visible part of the list of regions."""
        return self.page.locator(f"{REGION}__title").all_inner_texts()

    def picture(self, height: int, width: int) -> np.ndarray:
        """The picture as drawn now, [height,width,3] RGB, sampled at pixel centres."""
        seen = cv2.imdecode(np.frombuffer(self._picture_png(), np.uint8), cv2.IMREAD_COLOR)[
            :, :, ::-1
        ]
        y = ((np.arange(height) + 0.5) * seen.shape[0] / height).astype(int)
        x = ((np.arange(width) + 0.5) * seen.shape[1] / width).astype(int)
        return seen[y][:, x]

    def toggle_regions(self) -> None:
        """Press the eye over the list of regions, which hides all or brings them back."""
        self.page.get_by_role("button", name=re.compile("(Hide|Show) all regions")).click()
        self._settle()

    def draw_stroke(self, label: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Choose a label and draw with the brush, from and to parts (0..1) of the picture."""
        box = self.page.locator(IMAGE).bounding_box()
        self.page.locator(".lsf-label", has_text=label).first.click()
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in
                  (start, end)]  # fmt: skip
        self.page.mouse.move(*points[0])
        self.page.mouse.down()
        self.page.mouse.move(*points[1], steps=8)
        self.page.mouse.up()
        expect(self.page.locator(REGION)).to_have_count(1)

    def use_tool(
        self, tool: str, size: tuple[int, int], start: tuple[int, int], end: tuple[int, int]
    ) -> None:
        """Press a tool's button and drag from and to the middle of pixels (x, y) of the picture.

        The picture has `size` (height, width) px; the selected region takes the stroke.
        """
        strokes = "() => Htx.annotationStore.selected.selectedRegions[0].touches.length"
        before = self.page.evaluate(strokes)
        self.page.get_by_role("button", name=tool, exact=True).click()
        box = self.page.locator(IMAGE).bounding_box()
        scale = box["width"] / size[1], box["height"] / size[0]
        points = [
            (box["x"] + (x + 0.5) * scale[0], box["y"] + (y + 0.5) * scale[1])
            for x, y in (start, end)
        ]
        self.page.mouse.move(*points[0])
        self.page.mouse.down()
        self.page.mouse.move(*points[1], steps=8)
        self.page.mouse.up()
        self.page.wait_for_function(f"number => ({strokes})() === number", arg=before + 1)
        self._settle()

    def why(self) -> str:
        """Choose the first region in the list; the meta text that the editor shows beside it."""
        self._choose_first_region()
        text = self.page.locator(META)
        text.wait_for()
        return text.inner_text()

    def _choose_first_region(self) -> None:
        """Click the first region in the list, unless one is chosen: a second click undoes it."""
        chosen = "() => Htx.annotationStore.selected.selectedRegions.length"
        if not self.page.evaluate(chosen):
            self.page.locator(REGION).first.click()
            self.page.wait_for_function(f"({chosen})() === 1")

    def delete_first_region(self) -> str:
        """Choose the first region in the list and delete it by the keyboard; its id."""
        before = self.regions()
        self._choose_first_region()
        self.page.wait_for_timeout(300)
        self.page.keyboard.press("Backspace")
        self.page.wait_for_function(
            "number => Htx.annotationStore.selected.regions.length === number", arg=len(before) - 1
        )
        (gone,) = set(before) - set(self.regions())
        return gone

    def submit(self) -> tuple[dict, dict]:
        """Press Submit; returns the annotation that Label Studio stored, and the next task."""
        with self.page.expect_response(lambda r: "id=next_task" in r.url) as follows:
            annotation = self.submit_last()
        return annotation, self._opened(follows.value.json())

    def submit_last(self) -> dict:
        """Press Submit; returns the annotation that Label Studio stored."""
        with self.page.expect_response(
            lambda r: "/annotations" in r.url and r.request.method == "POST"
        ) as answer:
            self.page.get_by_role("button", name=re.compile("^Submit")).first.click()
        assert answer.value.status == 201, answer.value.text()
        return answer.value.json()
