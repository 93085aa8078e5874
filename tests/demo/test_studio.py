"""What the demo generates: what the command does, within its limits, until somebody cancels."""

import hashlib
import json
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scenes import HEIGHT, WIDTH

from mvdiffusion.demo import studio as studio_module
from mvdiffusion.demo.models import find_models, find_scenes
from mvdiffusion.demo.requests import Wish
from mvdiffusion.demo.settings import MINIATURE, PAPER, Limits, recommended
from mvdiffusion.demo.studio import CanceledError, Studio, size_of
from mvdiffusion.records import InputError
from mvdiffusion.tasks import Task

Run = Callable[..., tuple[int, str]]
SAMPLER = ("--scheduler", "DPMSolverMultistepScheduler", "--algorithm-type", "sde-dpmsolver++")
PREFIX = ("--prompt-prefix", "This is one view of a scene. ")
QUICK = Wish(prompts="a red wall", steps=2, guidance_scale=2)


def bytes_of(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("attention", ["on", "off"])
def test_a_panorama_is_that_of_the_command(
    studio: Studio, run: Run, models: dict[str, Path], tmp_path: Path, attention: str
) -> None:
    """Byte for byte, also from a pipeline that has generated before."""
    lines = "\n".join(f"a wall {number}" for number in range(8))
    told: list[tuple[int, int]] = []
    studio.generate(QUICK)
    wish = replace(QUICK, prompts=lines, seed=3.0, attention=attention)
    (result,) = studio.generate(wish, on_progress=lambda *step: told.append(step))
    assert told == [(1, 2), (2, 2)]
    assert len(result.views) == 8
    (tmp_path / "prompts.txt").write_text(lines)
    code, said = run(
        *("generate", "panorama", "--model", models["panorama"], "--output", tmp_path / "made"),
        *("--prompts", tmp_path / "prompts.txt", "--seed", 3, "--steps", 2, "--device", "cpu"),
        *("--guidance-scale", 2, *SAMPLER, *PREFIX, *["--independent"][: attention == "off"]),
    )
    assert code == 0, said
    assert bytes_of(result.folder) == bytes_of(tmp_path / "made")
    method = {"on": "mvdiffusion", "off": "independent"}[attention]
    assert json.loads((result.folder / "manifest.json").read_text())["method"] == method
    with zipfile.ZipFile(result.archive) as archive:
        archive.extractall(tmp_path / "unpacked")
    assert bytes_of(tmp_path / "unpacked") == bytes_of(result.folder)


def test_both_sides_differ_by_the_attention_alone(studio: Studio) -> None:
    told: list[tuple[int, int]] = []
    with_attention, without = studio.generate(
        replace(QUICK, attention="both"), on_progress=lambda *step: told.append(step)
    )
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert (with_attention.attention, without.attention) == (True, False)
    panoramas = {side.panorama.read_bytes() for side in (with_attention, without) if side.panorama}
    assert len(panoramas) == 2
    (alone,) = studio.generate(QUICK)
    assert bytes_of(alone.folder) == bytes_of(with_attention.folder)


def test_an_image_becomes_the_first_view(
    studio: Studio, run: Run, models: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(np.full((40, 60, 3), (200, 30, 30), np.uint8)).save(path)
    (result,) = studio.generate(replace(QUICK, image=str(path)))
    assert result.task is Task.OUTPAINT
    code, said = run(
        *("generate", "outpaint", "--model", models["outpaint"], "--output", tmp_path / "made"),
        *("--image", path, "--prompt", "a red wall", "--steps", 2, "--device", "cpu"),
        *("--guidance-scale", 2, *SAMPLER, *PREFIX),
    )
    assert code == 0, said
    assert bytes_of(result.folder) == bytes_of(tmp_path / "made")


def test_a_sequence_is_that_of_the_command(
    studio: Studio, run: Run, models: dict[str, Path], scene: Path, tmp_path: Path
) -> None:
    """Without a prompt it takes the captions of the scene."""
    (result,) = studio.generate(replace(QUICK, task="depth", prompts="", scene="flat"))
    assert (result.panorama, len(result.views)) == (None, 3)
    assert result.film.name == "sequence.mp4"
    code, said = run(
        *("generate", "depth", "--model", models["depth"], "--output", tmp_path / "made"),
        *("--scene", scene, "--height", HEIGHT, "--width", WIDTH, "--stride", 0, "--steps", 2),
        *("--device", "cpu", "--guidance-scale", 2, *SAMPLER, *PREFIX),
    )
    assert code == 0, said
    assert bytes_of(result.folder) == bytes_of(tmp_path / "made")


def test_bad_requests_get_one_sentence(studio: Studio, tmp_path: Path) -> None:
    large, wide, broken = (tmp_path / name for name in ("large.png", "wide.png", "broken.png"))
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (190, 190, 3), np.uint8)).save(large)
    Image.fromarray(np.zeros((20, 2001, 3), np.uint8)).save(wide)
    broken.write_bytes(large.read_bytes()[:3000])
    (tmp_path / "text.png").write_text("no image")
    Image.fromarray(np.full((20, 20), 3000, np.uint16)).save(tmp_path / "deep.png")
    for change, expected in [
        ({"prompts": ""}, "There is no prompt; write one line, or 8"),
        ({"prompts": " \n "}, "There is no prompt"),
        ({"prompts": None}, "There is no prompt"),
        ({"prompts": "a\nb\nc"}, "There are 3 lines of prompts; expected 1 or 8"),
        ({"prompts": "a\n\nb\nc\nd\ne\nf\ng"}, "Line 2 of the prompts is blank"),
        ({"prompts": "a" * 41}, "Line 1 of the prompts has 41 characters; expected at most 40"),
        ({"prompts": "a" * 10_000}, "The prompts have 10,000 characters"),
        ({"prompts": "\ud800"}, "holds half a character"),
        ({"steps": 31}, "The number of steps is 31; expected a whole number from 1 to 30"),
        ({"steps": 0}, "The number of steps is 0"),
        ({"steps": True}, "The number of steps is True"),
        ({"steps": None}, "The number of steps is empty"),
        ({"seed": -1}, "'seed' is -1"),
        ({"seed": 1.5}, "'seed' is 1.5"),
        ({"seed": None}, "'seed'"),
        ({"guidance_scale": 1e9}, "'guidance_scale'"),
        ({"guidance_scale": float("nan")}, "'guidance_scale'"),
        ({"attention": "half"}, "expected one of: on, off, both"),
        ({"attention": ["on"]}, "expected one of: on, off, both"),
        ({"task": "film"}, "expected one of: panorama, outpaint, depth"),
        ({"task": "outpaint"}, "Outpainting needs an image"),
        ({"task": "depth", "scene": "../flat"}, "Choose one of the scenes: flat"),
        ({"task": "depth", "scene": "flat", "prompts": "a\nb"}, "expected 1 or 3, one for each"),
        ({"image": str(large)}, "The image has 0.1 MB; expected at most 0.1"),
        ({"image": str(wide)}, "The image has 2001 x 20 pixels; expected at most 0.04 million"),
        ({"image": str(tmp_path / "text.png")}, "not a readable image"),
        ({"image": str(broken)}, "not a readable image"),
        ({"image": str(tmp_path / "deep.png")}, "more than 8 bits per channel"),
        ({"image": str(tmp_path / "none.png")}, "not a readable image"),
    ]:
        with pytest.raises(InputError) as error:
            studio.generate(replace(QUICK, **change))
        assert expected in str(error.value)
        assert "\n" not in str(error.value)
        assert str(tmp_path) not in str(error.value)
    assert not list(studio.folder.iterdir())


def test_what_is_canceled_stops_within_a_step(studio: Studio) -> None:
    """It leaves nothing behind, and the next one, waiting, is generated."""
    told: list[int] = []

    def cancel(step: int, steps: int) -> None:
        told.append(step)
        if step == 3:
            assert studio.cancel("somebody else") == 0
            assert studio.cancel("first") == 1

    with pytest.raises(CanceledError):
        studio.generate(replace(QUICK, steps=20), "first", cancel)
    assert told == [1, 2, 3]
    assert not list(studio.folder.iterdir())
    assert not studio.is_busy()
    assert len(studio.generate(QUICK, "first")) == 1


def test_one_is_generated_at_a_time(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second request waits; canceled while it waits, it does nothing."""
    inside, goes_on = threading.Event(), threading.Event()
    running: list[str] = []
    create = studio_module.create_panorama

    def slow(*arguments: object, **options: object) -> None:
        running.append(threading.current_thread().name)
        inside.set()
        assert goes_on.wait(20)
        create(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(studio_module, "create_panorama", slow)
    ended: dict[str, object] = {}

    def ask(name: str) -> None:
        try:
            ended[name] = studio.generate(QUICK, name)
        except CanceledError as error:
            ended[name] = error

    threads = [threading.Thread(target=ask, args=(name,), name=name) for name in ("one", "two")]
    threads[0].start()
    assert inside.wait(20)
    threads[1].start()
    while studio.cancel("two") == 0:
        time.sleep(0.01)
    assert running == ["one"]
    goes_on.set()
    for thread in threads:
        thread.join(60)
    assert running == ["one"]
    assert isinstance(ended["two"], CanceledError)
    assert isinstance(ended["one"], list)


def test_the_oldest_results_make_room(studio: Studio) -> None:
    (first,) = studio.generate(QUICK)
    studio.limits = replace(studio.limits, kept_bytes=3 * size_of(first.folder.parent))
    (second,) = studio.generate(replace(QUICK, seed=1))
    assert first.folder.exists()  # half of what may be kept is of results: one and a half
    (third,) = studio.generate(replace(QUICK, seed=2))
    assert [result.folder.exists() for result in (first, second, third)] == [False, True, True]


def test_models_are_found(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = find_models([models["depth"], models["panorama"]])
    assert given == {Task.PANORAMA: models["panorama"], Task.DEPTH: models["depth"]}
    with pytest.raises(InputError, match=r"is of the task depth, as .* is"):
        find_models([models["depth"], models["depth"]])
    with pytest.raises(InputError, match=r"no model_index\.json"):
        find_models([tmp_path])
    (tmp_path / "single").mkdir()
    (tmp_path / "single/model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(InputError, match="holds a StableDiffusionPipeline; expected MVDiffusion"):
        find_models([tmp_path / "single"])
    custom = '{"_class_name": ["pipeline", "MVDiffusionOutpaintPipeline"]}'
    (tmp_path / "single/model_index.json").write_text(custom)
    assert find_models([tmp_path / "single"]) == {Task.OUTPAINT: tmp_path / "single"}

    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no model is there; pass --model FOLDER, after `make lo"):
        find_models()
    look = Path("results/look/models/panorama_stage2")
    look.parent.mkdir(parents=True)
    look.symlink_to(models["panorama"])
    assert find_models() == {Task.PANORAMA: look}
    run = Path("results/models/outpaint_stage2")
    run.parent.mkdir(parents=True)
    run.symlink_to(models["outpaint"])
    assert find_models() == {Task.OUTPAINT: run}


def test_scenes_are_found(scene: Path, tmp_path: Path) -> None:
    assert find_scenes([scene]) == find_scenes([scene.parent]) == {"flat": scene}
    with pytest.raises(InputError, match="a second scene named flat"):
        find_scenes([scene, scene.parent])
    with pytest.raises(InputError, match="no scene with key frames"):
        find_scenes([tmp_path])


def test_models_are_sampled_as_recommended(models: dict[str, Path], tmp_path: Path) -> None:
    """The miniature's as workflow/config/mini.yaml says, others as the paper does."""
    assert recommended(models["panorama"]) == MINIATURE
    (tmp_path / "model_index.json").write_text('{"vae": ["diffusers", "AutoencoderKL"]}')
    assert recommended(tmp_path, prompt_prefix=None) == PAPER
    changed = recommended(tmp_path, prompt_prefix="a ", scheduler="EulerDiscreteScheduler")
    assert (changed.prompt_prefix, changed.generation.num_inference_steps) == ("a ", 50)
    assert changed.generation.scheduler == "EulerDiscreteScheduler"
    with pytest.raises(InputError, match="as only DPMSolverMultistepScheduler takes one"):
        recommended(tmp_path, algorithm_type="dpmsolver++")
    assert Limits().steps == 100


def test_without_outpainting_an_image_is_refused(studio: Studio) -> None:
    only = Studio({Task.PANORAMA: Path("model")}, studio.folder, studio.samplings)
    with pytest.raises(InputError, match="the one here takes no image; remove it"):
        only.generate(replace(QUICK, image="photo.png"))
    only = Studio({Task.OUTPAINT: Path("model")}, studio.folder, studio.samplings)
    with pytest.raises(InputError, match="the one here needs an image; add one"):
        only.generate(replace(QUICK, task="outpaint"))
    without_scenes = Studio(dict.fromkeys(Task, Path("model")), studio.folder, studio.samplings)
    assert without_scenes.tasks == [Task.PANORAMA, Task.OUTPAINT]


def test_the_recommendation_is_that_of_the_configuration() -> None:
    """Of all three tasks of workflow/config/mini.yaml; frames have the size of its walks."""
    import yaml

    config = yaml.safe_load(Path("workflow/config/mini.yaml").read_text())
    for task in Task:
        wanted = config[task]["generation"]
        numbers = MINIATURE.generation
        for key in ("num_inference_steps", "guidance_scale", "scheduler", "algorithm_type"):
            assert getattr(numbers, key) == wanted[key], (task, key)
    views, frames = config["data"]["views"], config["data"]["frames"]
    assert MINIATURE.prompt_prefix == views["prompt_prefix"] == frames["prompt_prefix"]
    assert (MINIATURE.frame_height, MINIATURE.frame_width) == (frames["height"], frames["width"])
