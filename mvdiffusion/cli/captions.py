"""`mvdiffusion data caption`: captions of panoramas and frames."""

from __future__ import annotations

from typing import Annotated

import typer

from mvdiffusion.cli.data import data_app
from mvdiffusion.cli.options import Data, DefaultSettings, ForTask, Workers
from mvdiffusion.settings import parse, read_settings


@data_app.command("caption")
def data_caption(
    data: Data,
    split: Annotated[str, typer.Option(help="Which split.")],
    task: ForTask,
    settings: DefaultSettings = "{}",
    limit: Annotated[int | None, typer.Option(min=0, help="At most so many images now.")] = None,
    workers: Workers = 1,
) -> None:
    """Caption the images of a split with BLIP-2; captions that are there are kept.

    SETTINGS: model, revision, batch_size, device, dtype, max_new_tokens, num_beams, prompt (all
    optional), for panoramas image_size, for scenes frames (valid or key).
    """
    from mvdiffusion.preparation.captions import CaptionSettings, caption_split

    values = parse(CaptionSettings, read_settings(settings))
    counts = caption_split(task.value, data, split, values, limit, workers)
    print(f"{data}: {counts['made']} captions made, {counts['left']} of {counts['all']} left")
