"""What a visitor asks for: checked against the limits, before it costs anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from mvdiffusion.demo.settings import Limits
from mvdiffusion.images import UNREADABLE, holds_depth, open_image
from mvdiffusion.pipelines.panorama import DEFAULT_VIEWS
from mvdiffusion.records import InputError, listed
from mvdiffusion.tasks import Task

Attention = Literal["on", "off", "both"]


@dataclass(frozen=True)
class Wish:
    """A request as it comes from the page or from a program: any values at all.

    Attributes:
        task: name of a task.
        prompts: one line for all views, or one per view; for a sequence also none, which takes the
            captions of its scene.
        image: file of the view that a panorama is made around.
        scene: name of the scene of a sequence.
        seed, steps, guidance_scale: numbers of the sampling.
        attention: with attention between the views, without (the baseline of independent views
            from the same noise), or both.
    """

    task: Any = "panorama"
    prompts: Any = ""
    image: Any = None
    scene: Any = None
    seed: Any = 0
    steps: Any = 50
    guidance_scale: Any = 9.0
    attention: Any = "on"


def chosen_task(wish: Wish, offered: Sequence[Task]) -> Task:
    """Tell which of the offered tasks is meant: an image makes a panorama an outpainting.

    Raises:
        InputError: no such task, or none with an image or without.
    """
    names = [str(task) for task in offered]
    if wish.task not in names:
        raise InputError(f"The task is {_shown(wish.task)}; expected one of: {listed(names)}.")
    task = Task(wish.task)
    if task is Task.DEPTH:
        return task
    wanted = Task.OUTPAINT if wish.image else Task.PANORAMA
    if wanted not in offered:
        problem = "takes no image; remove it" if wish.image else "needs an image; add one"
        raise InputError(f"There is no model for this request: the one here {problem}.")
    if task is Task.OUTPAINT and not wish.image:
        raise InputError("Outpainting needs an image to begin with; add one, or choose panorama.")
    return wanted


def checked_prompts(wish: Wish, task: Task, frames: int, limits: Limits) -> list[str] | None:
    """Part the prompts into lines.

    Args:
        frames: number of frames of a sequence.

    Returns:
        One prompt, or one per view; None for the captions of a sequence's scene.

    Raises:
        InputError: no text, too much of it, or a wrong number of lines.
    """
    count, name = (frames, "frame") if task is Task.DEPTH else (DEFAULT_VIEWS, "view")
    text = wish.prompts if isinstance(wish.prompts, str) else ""
    if len(text) > count * (limits.prompt_characters + 1):
        raise InputError(
            f"The prompts have {len(text):,} characters; expected at most "
            f"{limits.prompt_characters} for each {name}."
        )
    lines = [line.strip() for line in text.strip().splitlines()]
    if not lines:
        if task is Task.DEPTH:
            return None
        raise InputError(f"There is no prompt; write one line, or {count}, one for each {name}.")
    if len(lines) not in (1, count):
        raise InputError(
            f"There are {len(lines)} lines of prompts; expected 1 or {count}, one for each {name}."
        )
    for number, line in enumerate(lines, 1):
        if not line:
            raise InputError(f"Line {number} of the prompts is blank; expected text in every line.")
        if len(line) > limits.prompt_characters:
            raise InputError(
                f"Line {number} of the prompts has {len(line):,} characters; expected at most "
                f"{limits.prompt_characters}."
            )
        if any("\ud800" <= letter <= "\udfff" for letter in line):
            raise InputError(
                f"Line {number} of the prompts holds half a character; write it again."
            )
    return lines


def checked_image(image: Any, limits: Limits) -> Path:
    """Open an uploaded image, which is decoded only if it is not too large.

    Raises:
        InputError: too large a file, too many pixels, too many bits, or no whole image.
    """
    path = Path(image)
    try:
        size = path.stat().st_size
        if size > limits.image_bytes:
            raise InputError(
                f"The image has {size / 1e6:.1f} MB; expected at most {limits.image_bytes / 1e6:g}."
            )
        with open_image(path) as opened:
            width, height = opened.size
            if width * height > limits.image_pixels:
                raise InputError(
                    f"The image has {width} x {height} pixels; expected at most "
                    f"{limits.image_pixels / 1e6:g} million."
                )
            if holds_depth(opened.mode) or opened.mode == "F":
                raise InputError("The image has more than 8 bits per channel; save it with 8.")
            opened.load()
    except InputError:
        raise
    except UNREADABLE:
        raise InputError(
            "The file is not a readable image; expected a whole PNG, JPEG or WebP. Save it again."
        ) from None
    return path


def checked_steps(steps: Any, limits: Limits) -> int:
    """Check the number of denoising steps.

    Raises:
        InputError: no whole number, or out of range.
    """
    number = whole(steps)
    if type(number) is not int or not 1 <= number <= limits.steps:
        raise InputError(
            f"The number of steps is {_shown(steps)}; expected a whole number from 1 to "
            f"{limits.steps}."
        )
    return number


def checked_attention(attention: Any) -> tuple[bool, ...]:
    """Tell with and without which attention to generate.

    Raises:
        InputError: no such choice.
    """
    if attention not in get_args(Attention):
        raise InputError(
            f"Attention is {_shown(attention)}; expected one of: {listed(get_args(Attention))}."
        )
    return {"on": (True,), "off": (False,), "both": (True, False)}[attention]


def whole(number: Any) -> Any:
    """Return a float without a fraction, as pages send whole numbers, as an int."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _shown(value: Any) -> str:
    text = "empty" if value is None else repr(value)
    return text if len(text) < 40 else f"{text[:39]}…"
