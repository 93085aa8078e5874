"""The file that tells an external method what to make: `requests.json`.

<folder>/requests.json              task, method, cameras, and the samples with prompts and seeds
<folder>/.inputs/<sample>/0.png     (outpaint) the given view
<folder>/.inputs/<sample>/          (depth) cameras.json and depth/<place>.png in millimeters
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.data.scannet import ScanNetScenes
from mvdiffusion.generation.sample_folder import sample_seed, split_manifest
from mvdiffusion.images import read_depth, save_png
from mvdiffusion.manifest import Manifest, Trajectory, read_trajectory, write_geometry
from mvdiffusion.methods.specification import Specification
from mvdiffusion.records import InputError, atomic_output, read_json, write_json
from mvdiffusion.settings import parse
from mvdiffusion.tasks import GIVEN_VIEWS, Task

REQUESTS, INPUTS = "requests.json", ".inputs"
Dataset = Matterport3DPanoramas | ScanNetScenes


@dataclass(frozen=True)
class Request:
    """What one sample shall show.

    Attributes:
        id: name of the sample.
        seed: of this sample, below 2³².
        prompts: one per view.
        prompt: the distinct captions joined, for methods that take one text.
    """

    id: str
    seed: int
    prompts: tuple[str, ...]
    prompt: str


@dataclass(frozen=True)
class Requests:
    """What a folder of samples shall show.

    Attributes:
        manifest: task, method, cameras and names of the samples.
        samples: the requests.
    """

    manifest: Manifest
    samples: tuple[Request, ...]

    def content(self, samples: Sequence[Request]) -> dict[str, Any]:
        """Write some of the samples as JSON."""
        manifest, depth = self.manifest, self.manifest.task == Task.DEPTH
        sizes = {"height": manifest.height, "width": manifest.width}
        cameras = {"fov_deg": manifest.fov_deg, "yaw_deg": list(manifest.yaw_deg)}
        given = {"given_views": list(GIVEN_VIEWS)} if manifest.task == Task.OUTPAINT else {}
        return {
            "format": 1,
            "task": manifest.task.value,
            "method": manifest.method,
            "settings_sha256": manifest.settings_sha256,
            **sizes,
            **({} if depth else cameras),
            **given,
            "samples": [vars(sample) | {"prompts": list(sample.prompts)} for sample in samples],
        }


def seed_of(seed: int, sample_id: str) -> int:
    """Seed of one sample, below 2³², as every library takes: the first 32 of our own 56 bits.

    Args:
        seed: seed of the run.
        sample_id: name of the sample, on which alone it depends beside.
    """
    return sample_seed(seed, sample_id) >> 24


def joined(prompts: Sequence[str], prefix: str = "") -> str:
    """Join the distinct prompts of views to one text, as the paper did for Text2Light.

    Args:
        prompts: one per view, in order.
        prefix: put before.
    """
    distinct = dict.fromkeys(" ".join(prompt.split()).rstrip(".") for prompt in prompts)
    return prefix + ". ".join(distinct) + "."


def make_requests(
    specification: Specification,
    task: Task,
    dataset: Dataset,
    num_samples: int | None = None,
    seed: int = 0,
    settings_sha256: str | None = None,
    folder: Path | None = None,
) -> Requests:
    """Ask a method for the samples of a split.

    Args:
        specification: the method.
        task: one of its tasks.
        dataset: the split.
        num_samples: how many of its samples, from its start; None means all.
        seed: of the run.
        settings_sha256: hash of everything that decides the images, if somebody has it.
        folder: where given views, and depth with cameras, are written (default: they are not).

    Raises:
        InputError: the method does not do the task, or the split has fewer samples.
    """
    prefix = specification.generation(task).prompt_prefix
    manifest = split_manifest(task, specification.method, dataset, num_samples, settings_sha256)
    samples = []
    for index, name in enumerate(tqdm(manifest.samples, desc="prompts")):
        sample = _load(dataset, index)
        prompts = tuple(sample.prompts)
        captions = [text.removeprefix(dataset.prompt_prefix) for text in prompts]
        samples.append(Request(name, seed_of(seed, name), prompts, joined(captions, prefix)))
        if folder is not None:
            _write_inputs(folder / INPUTS / name, task, sample)
    return Requests(manifest, tuple(samples))


def _load(dataset: Dataset, index: int) -> Any:
    """Read a sample; depth may be rendered, and then there are no color images."""
    if isinstance(dataset, ScanNetScenes):
        return dataset.load(index, views=False)
    return dataset.load(index)


def _write_inputs(folder: Path, task: Task, sample: Any) -> None:
    """Write what a sample is given beside its prompts."""
    if task == Task.PANORAMA or folder.is_dir():
        return
    with atomic_output(folder) as made:
        made.mkdir()
        if task == Task.DEPTH:
            write_geometry(made, *sample.geometry)
        else:
            for view in GIVEN_VIEWS:
                save_png(sample.views[view], made / f"{view}.png")


def read_inputs(folder: Path) -> tuple[Trajectory, Any]:
    """Read the cameras of a sequence, and its depth [V, H, W] in meters, as they were written.

    Raises:
        InputError: a file is missing or broken.
    """
    trajectory = read_trajectory(folder)
    files = (folder / "depth" / f"{view}.png" for view in range(len(trajectory.frames)))
    return trajectory, [read_depth(file) for file in files]


def write_requests(path: Path, requests: Requests, samples: Sequence[Request]) -> None:
    """Write requests for some of the samples.

    Args:
        path: the file.
        requests: what they have in common.
        samples: those that are asked for.
    """
    write_json(path, requests.content(samples))


def read_requests(path: Path) -> Requests:
    """Read a file of requests.

    Raises:
        InputError: it is missing, no JSON, or not such a file.
    """
    found = read_json(path)
    if not isinstance(found, Mapping) or not isinstance(found.get("samples"), list):
        raise InputError(f"{path}: no requests; expected what `mvdiffusion external run` writes.")
    keys = ("task", "method", "settings_sha256", "height", "width")
    cameras = ("fov_deg", "yaw_deg", "given_views")
    values = {key: found[key] for key in (*keys, *cameras) if key in found}
    try:
        samples = tuple(
            Request(s["id"], s["seed"], tuple(s["prompts"]), s["prompt"]) for s in found["samples"]
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: a sample lacks {error}; expected id, seed, prompts.") from None
    names = [sample.id for sample in samples]
    return Requests(parse(Manifest, {**values, "samples": names}, file=path), samples)
