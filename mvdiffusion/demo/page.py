"""The page of the demo, in Gradio."""

from __future__ import annotations

import html
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from mvdiffusion.demo.requests import Wish
from mvdiffusion.demo.studio import CanceledError, Result, Studio
from mvdiffusion.pipelines.panorama import DEFAULT_VIEWS
from mvdiffusion.records import InputError
from mvdiffusion.tasks import Task

logger = logging.getLogger(__name__)

TITLE = "MVDiffusion: views that agree with each other"
HEADINGS = {True: "### With attention between the views", False: "### Independent views"}
ATTENTION = [
    ("On: the views see each other", "on"),
    ("Off: independent views from the same noise", "off"),
    ("Both, to compare", "both"),
]
CSS = """
.look iframe, .look video { display: block; width: 100%; height: 420px; border: 0;
  border-radius: 8px; background: #111; }
.look .views { display: grid; gap: 8px; margin-top: 8px;
  grid-template-columns: repeat(4, minmax(0, 1fr)); }
.look figure { margin: 0; }
.look img { width: 100%; border-radius: 6px; }
.look figcaption { font-size: 0.85em; }
#status .error { display: none; }  /* the message tells more */
"""
EXAMPLE = "a bedroom with blue walls, a bed and a picture"


def theme() -> Any:
    """Give the colors of the page, of contrasts that all can read, and fonts that are there."""
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["monospace"]}
    return gr.themes.Default(primary_hue="blue", **fonts).set(
        body_text_color_subdued="*neutral_500",
        link_text_color_dark="*secondary_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
    )


def build_page(studio: Studio) -> gr.Blocks:
    """Lay the page out.

    Args:
        studio: what generates.
    """
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.Markdown(f"# {TITLE}\n{_introduction(studio)}")
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                inputs = _controls(studio)
                with gr.Row():
                    start = gr.Button("Generate", variant="primary", min_width=100)
                    stop = gr.Button("Cancel", min_width=100)
            with gr.Column(scale=3, min_width=300):
                status = gr.HTML(_said("Ready."), elem_id="status", min_height=100)
                with gr.Row():
                    sides = [_side(attention) for attention in (True, False)]
        outputs = [status, *(part for side in sides for part in side)]

        def generate(
            task: Any, prompts: Any, image: Any, scene: Any, attention: Any, seed: Any, steps: Any,
            guidance_scale: Any, request: gr.Request, progress: gr.Progress = gr.Progress(),  # noqa: B008
        ) -> list[Any]:  # fmt: skip
            wish = Wish(task, prompts, image, scene, seed, steps, guidance_scale, attention)
            return _generated(studio, wish, request.session_hash, progress)

        running = start.click(
            generate,
            inputs,
            outputs,
            api_name="generate",
            show_progress_on=status,
            concurrency_limit=1,
        )

        running.failure(lambda: _said("Nothing was generated."), None, status, queue=False)

        def cancel(request: gr.Request) -> str:
            studio.cancel(request.session_hash)
            return _said("Canceled.")

        # Gradio drops a request that still waits, and the studio stops one that runs.
        stop.click(cancel, None, status, cancels=running, queue=False, api_name="cancel")

        def leave(request: gr.Request) -> None:
            studio.cancel(request.session_hash)

        page.unload(leave)
    page.queue(
        max_size=studio.limits.waiting,
        api_open=False,
        default_concurrency_limit=1,
    )
    return page


def _introduction(studio: Studio) -> str:
    tasks = ", ".join(task.label.lower() for task in studio.tasks)
    return (
        "Several views are generated at once. Attention between the views makes them agree where "
        "they overlap, so that they join to one panorama; without it each shows a room of its own. "
        f"Offered here: {tasks}."
    )


def _controls(studio: Studio) -> list[Any]:
    """Make what a visitor fills in, in the order of `generate`."""
    first = studio.tasks[0]
    sampling = studio.samplings[first].generation
    outpaints, has_scenes = Task.OUTPAINT in studio.tasks, Task.DEPTH in studio.tasks
    choices = [(task.label, str(task)) for task in studio.tasks]
    task = gr.Radio(choices, value=str(first), label="Task", visible=len(choices) > 1)
    prompts = gr.Textbox(
        EXAMPLE,
        lines=4,
        max_lines=8,
        label="Prompt",
        info=f"One line for all views, or {DEFAULT_VIEWS} lines, one for each, to the right."
        + (" For images from depth, none takes the captions of the scene." if has_scenes else ""),
    )
    image = _upload(visible=outpaints)
    names = list(studio.scenes)
    scene = gr.Dropdown(
        names, value=names[0] if names else None, label="Scene", visible=first is Task.DEPTH
    )
    attention = gr.Radio(ATTENTION, value="on", label="Attention between the views")
    with gr.Accordion("Seed, steps and guidance", open=False):
        seed = gr.Number(0, label="Seed", info="The same seed makes the same images.", precision=0)
        most = studio.limits.steps
        steps = gr.Slider(
            1, most, min(sampling.num_inference_steps, most), step=1, label="Denoising steps"
        )
        guidance = gr.Slider(
            0, 20, sampling.guidance_scale, step=0.1, label="Guidance scale", info="1: none."
        )
    if has_scenes:
        task.change(
            lambda chosen: gr.update(visible=chosen == Task.DEPTH),
            task,
            scene,
            queue=False,
            api_visibility="private",
        )
    if outpaints:
        image.change(
            lambda path, chosen: (
                chosen if chosen == Task.DEPTH else str(_around(path, studio.tasks))
            ),
            [image, task],
            task,
            queue=False,
            api_visibility="private",
        )
    return [task, prompts, image, scene, attention, seed, steps, guidance]


def _upload(visible: bool) -> Any:
    """Make the place of an image, whose file is checked before it is decoded (`checked_image`)."""
    image = gr.Image(
        type="filepath",
        sources=["upload"],
        label="First view (optional): the rest is made around it",
        visible=visible,
        height=180,
    )
    take = image.async_move_resource_to_block_cache

    async def take_file(path: Any) -> Any:
        if "://" in str(path):  # Gradio would fetch it
            raise gr.Error("An address is no image; upload the file itself.", print_exception=False)
        return await take(path)

    # Set here, since Gradio writes a file of its own beside the code of every class of components.
    image.async_move_resource_to_block_cache = take_file
    image.preprocess = lambda uploaded: uploaded and uploaded.path
    return image


def _around(image: str | None, tasks: Sequence[Task]) -> Task:
    """Choose the task that goes with an image or with none, if it is offered."""
    wanted = Task.OUTPAINT if image else Task.PANORAMA
    return wanted if wanted in tasks else Task.OUTPAINT


def _side(attention: bool) -> list[Any]:
    """Make a column for one result, hidden until there is one, and give its places."""
    with gr.Column(visible=False, min_width=300) as side:
        gr.Markdown(HEADINGS[attention])
        look = gr.HTML(elem_classes="look")
        files = gr.File(label="Download", file_count="multiple", interactive=False)
    return [side, look, files]


def _generated(studio: Studio, wish: Wish, visitor: str | None, progress: gr.Progress) -> list[Any]:
    """Generate, and fill the page: status, then the places of both sides."""
    started = time.monotonic()

    def on_progress(done: int, steps: int) -> None:
        progress((done, steps), desc="Denoising", unit="steps")

    try:
        results = studio.generate(wish, visitor, on_progress)
    except InputError as error:
        raise gr.Error(str(error), title="Not possible", print_exception=False) from None
    except CanceledError:
        return [_said("Canceled."), *[gr.skip()] * 6]
    except Exception:
        logger.exception("the demo failed")
        raise gr.Error(
            "The generation failed; the terminal of the demo says why.", print_exception=False
        ) from None
    seconds = time.monotonic() - started
    made = {result.attention: result for result in results}
    shown = [part for attention in (True, False) for part in _shown(made.get(attention))]
    return [_said(f"Done in {seconds:.0f} seconds, seed {wish.seed}."), *shown]


def _shown(result: Result | None) -> list[Any]:
    if result is None:
        return [gr.update(visible=False), None, None]
    files = [result.panorama, result.film, result.archive]
    return [
        gr.update(visible=True),
        _look(result) + _views(result),
        [str(path) for path in files if path],
    ]


def _look(result: Result) -> str:
    """Make the turning panorama, or the film of a sequence."""
    if result.viewer:
        document = html.escape(result.viewer.read_text(encoding="utf-8"))
        return (
            f'<iframe title="Turning panorama" srcdoc="{document}" sandbox="allow-scripts" '
            'allow="fullscreen"></iframe>'
        )
    return f'<video src="{_address(result.film)}" controls loop muted title="The sequence"></video>'


def _views(result: Result) -> str:
    """Lay the views out in rows."""
    name = "Frame" if result.task is Task.DEPTH else "View"
    images = (
        f'<figure><img src="{_address(path)}" alt="{name} {number}"><figcaption>{name} {number}'
        "</figcaption></figure>"
        for number, path in enumerate(result.views)
    )
    return f'<div class="views">{"".join(images)}</div>'


def _address(path: Path) -> str:
    """Give the address of a result's file on the page."""
    return f"gradio_api/file={quote(str(path))}"


def _said(text: str) -> str:
    return f'<p role="status">{html.escape(text)}</p>'
