"""The demo in a real browser: Chromium of the system, without a network."""

import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import looked_at_by_axe, serious
from demo_process import start
from PIL import Image

pytestmark = pytest.mark.slow
SECONDS = 120_000  # milliseconds that anything may take on a busy machine


@pytest.fixture(scope="module")
def address(
    models: dict[str, Path], scene: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where a demo of tiny models answers."""
    folders = [word for task in models for word in ("--model", str(models[task]))]
    options = ["--scene", str(scene), "--port", "0", "--max-steps", "1000", "--device", "cpu"]
    command = [sys.executable, "-m", "mvdiffusion.cli", "demo", *folders, *options]
    process, address = start(command, tmp_path_factory.mktemp("demo"))
    assert process.stderr
    threading.Thread(target=process.stderr.read, daemon=True).start()  # bars of progress
    yield address
    process.terminate()
    assert process.wait(60) == 0


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Any]:
    """Open the page as another visitor; nothing may be loaded from elsewhere, or go wrong."""
    contexts, wrong = [], []

    def watch_request(request: Any) -> None:
        if not request.url.startswith((address, "data:", "blob:", "about:")):
            wrong.append(request.url)

    def watch_message(message: Any) -> None:
        if message.type == "error":
            wrong.append(message.text)

    def visit(**options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(SECONDS)
        page.on("request", watch_request)
        page.on("console", watch_message)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        page.get_by_role("button", name="Generate").wait_for()
        choose_steps(page, 1)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert wrong == []


def choose_steps(page: Any, steps: int) -> None:
    number = page.get_by_label("number input for Denoising steps")
    if not number.is_visible():
        page.get_by_role("button", name="Seed, steps and guidance").click()
    number.fill(str(steps))
    number.press("Tab")


def generate(page: Any) -> None:
    page.get_by_role("button", name="Generate").click()


def wait_for(page: Any, status: str) -> None:
    page.locator("#status").get_by_text(re.compile(status)).wait_for()


def sizes(page: Any) -> list[int]:
    """Widths in pixels of all views that are seen; 0 of one that could not be loaded."""
    images = page.locator(".views img:visible")
    images.last.evaluate("image => image.complete || new Promise(done => image.onload = done)")
    return images.evaluate_all("all => all.map(image => image.naturalWidth)")


def test_prompt_to_panorama(visit: Any, tmp_path: Path) -> None:
    page = visit()
    page.get_by_label("Prompt").fill("a red wall")
    generate(page)
    wait_for(page, "Done in")
    assert sizes(page) == [32] * 8
    assert page.get_by_alt_text("View 7").is_visible()
    assert page.get_by_text("With attention between the views").is_visible()
    assert not page.get_by_text("Independent views", exact=True).is_visible()
    frame = page.locator("iframe:visible")
    assert frame.count() == 1
    box = frame.bounding_box()
    assert box["width"] > 300
    darkest, lightest = Image.open(shot(frame, tmp_path)).convert("L").getextrema()
    assert lightest - darkest > 30  # the panorama, not an even ground
    with page.expect_download() as download:
        page.locator("a[download]:visible").first.click()
    assert download.value.suggested_filename == "panorama.jpg"
    with Image.open(download.value.path()) as image:
        assert image.format == "JPEG"


def shot(element: Any, folder: Path) -> Path:
    element.scroll_into_view_if_needed()
    element.page.wait_for_timeout(1000)
    element.screenshot(path=folder / "shot.png")
    return folder / "shot.png"


def test_attention_off_and_both(visit: Any) -> None:
    page = visit()
    page.get_by_label("Off: independent views").check()
    generate(page)
    wait_for(page, "Done in")
    assert page.get_by_text("Independent views", exact=True).is_visible()
    assert page.locator("iframe:visible").count() == 1
    page.get_by_label("Both, to compare").check()
    generate(page)
    page.get_by_text("With attention between the views").wait_for()
    assert page.locator("iframe:visible").count() == 2
    left, right = page.locator("iframe:visible").all()
    assert left.bounding_box()["y"] == right.bounding_box()["y"]  # beside each other
    assert sizes(page) == [32] * 16


def test_cancel_and_a_queue(visit: Any) -> None:
    """Two visitors: one waits, sees its place, and is served when the other cancels."""
    one, two = visit(), visit()
    choose_steps(one, 900)  # Gradio writes 1000 as 1k
    generate(one)
    wait_for_words(one, r"[1-9]\d*/900")  # progress, step by step
    generate(two)
    wait_for_words(two, "queue: 1/1")
    one.get_by_role("button", name="Cancel").click()
    wait_for(one, "Canceled")
    wait_for(two, "Done in")
    assert one.locator(".views img:visible").count() == 0
    assert sizes(two) == [32] * 8

    generate(one)
    wait_for_words(one, r"[1-9]\d*/900")
    generate(two)
    wait_for_words(two, "queue: 1/1")
    one.context.close()  # whoever leaves cancels
    wait_for_words(two, "Done in")


def wait_for_words(page: Any, words: str) -> None:
    page.wait_for_function(
        "words => new RegExp(words).test(document.querySelector('#status').innerText)", arg=words
    )


def test_a_waiting_request_is_canceled(visit: Any) -> None:
    one, two = visit(), visit()
    choose_steps(one, 900)  # Gradio writes 1000 as 1k
    generate(one)
    wait_for_words(one, r"[1-9]\d*/900")
    generate(two)
    wait_for_words(two, "queue: 1/1")
    two.get_by_role("button", name="Cancel").click()
    wait_for(two, "Canceled|Nothing was generated")
    one.get_by_role("button", name="Cancel").click()
    wait_for(one, "Canceled")


def test_bad_input_gets_one_sentence(visit: Any, tmp_path: Path) -> None:
    page = visit()
    page.get_by_label("Prompt").fill("a\nb\nc")
    generate(page)
    toast = page.locator(".toast-body")
    toast.get_by_text("There are 3 lines of prompts; expected 1 or 8, one for each").wait_for()
    wait_for(page, "Nothing was generated")
    assert "Traceback" not in page.content()
    page.get_by_test_id("toast-close").click()
    (tmp_path / "photo.png").write_bytes(b"no image")
    page.get_by_label("Prompt").fill("a red wall")
    page.locator("input[type=file]").first.set_input_files(tmp_path / "photo.png")
    page.wait_for_timeout(2000)
    generate(page)
    page.locator(".toast-body").get_by_text("The file is not a readable image").wait_for()


def test_an_image_and_a_sequence(visit: Any, tmp_path: Path) -> None:
    page = visit()
    Image.new("RGB", (40, 40), (200, 30, 30)).save(tmp_path / "photo.png")
    page.locator("input[type=file]").first.set_input_files(tmp_path / "photo.png")
    chosen = page.get_by_role("radio", name="Panorama from text and one image")
    page.wait_for_function("radio => radio.checked", arg=chosen.element_handle())
    generate(page)
    wait_for(page, "Done in")
    assert sizes(page) == [32] * 8
    page.get_by_role("radio", name="Images from depth").check()
    page.get_by_label("Scene").wait_for()
    page.get_by_label("Prompt").first.fill("")
    generate(page)
    page.get_by_alt_text("Frame 2").wait_for()
    assert page.locator("video:visible").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(visit: Any, scheme: str) -> None:
    """Nothing is wider than 390 pixels, and dark is dark."""
    page = visit(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    generate(page)
    wait_for(page, "Done in")
    assert sizes(page) == [32] * 8
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for image in page.locator(".views img:visible").all():
        box = image.bounding_box()
        assert box["x"] + box["width"] <= 390
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red, *_ = map(int, re.findall(r"\d+", ground))
    assert (red < 60) == (scheme == "dark")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_people_with_disabilities_can_use(visit: Any, scheme: str) -> None:
    """Axe finds nothing serious."""
    page = visit(color_scheme=scheme)
    page.get_by_label("Both, to compare").check()
    generate(page)
    wait_for(page, "Done in")
    page.mouse.move(0, 0)
    page.wait_for_timeout(1000)  # colors change slowly
    assert serious(looked_at_by_axe(page)) == []
