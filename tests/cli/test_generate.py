"""`mvdiffusion generate panorama | outpaint | depth`, from words to files."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from noise_data import write_rooms
from PIL import Image, PngImagePlugin
from safetensors.torch import load_file, save_file
from scenes import HEIGHT, WIDTH, render, write_scene

from mvdiffusion.images import read_image
from mvdiffusion.pipelines.outpaint import MVDiffusionOutpaintPipeline
from mvdiffusion.records import sha256_file
from mvdiffusion_eval.cli import main as eval_command

Run = Callable[..., tuple[int, str]]
FAST = ("--steps", 1, "--device", "cpu")
FOUR = ("--num-views", 4)


def sample_of(output: Path) -> Path:
    """The folder of the only sample."""
    (name,) = json.loads((output / "manifest.json").read_text())["samples"]
    return output / name


def pixels(output: Path) -> list[np.ndarray]:
    count = len(list(sample_of(output).glob("[0-9]*.png")))
    return [np.array(Image.open(sample_of(output) / f"{view}.png")) for view in range(count)]


def check_manifest(folder: Path) -> dict:
    """Every file is in the manifest, with its hash."""
    manifest = json.loads((folder / "manifest.json").read_text())
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {*manifest["files"], "manifest.json", ".output.json"}
    for name, digest in manifest["files"].items():
        assert sha256_file(folder / name) == digest
    assert manifest["provenance"]["packages"]["torch"]
    return manifest


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    path.write_text("a red wall\n\na wall\na red\nred\n")
    return path


@pytest.mark.long
def test_panorama(run: Run, models: dict[str, Path], prompts: Path, tmp_path: Path) -> None:
    output = tmp_path / "room"
    common = ("generate", "panorama", "--model", models["panorama"], *FAST, *FOUR)
    words = (*common, "--output", output)
    code, said = run(*words, "--prompts", prompts, "--seed", 3)
    assert code == 0, said
    assert len(pixels(output)) == 4  # the blank line is none
    assert (sample_of(output) / "prompt.txt").read_text() == "a red wall\na wall\na red\nred\n"
    manifest = check_manifest(output)
    assert manifest["settings"]["seed"] == 3
    assert re.fullmatch("[0-9a-f]{64}", manifest["settings"]["model"])
    assert "4 views of 90 degrees cover 360 of 360 and share no pixel" in said
    film = cv2.VideoCapture(str(output / "turning.mp4"))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == 8 * 24
    assert film.get(cv2.CAP_PROP_FPS) == 24

    before = (output / "manifest.json").stat().st_mtime_ns
    code, said = run(*words, "--prompts", prompts, "--seed", 3, "--view-chunk", 1)
    assert (code, "already made" in said) == (0, True)
    assert (output / "manifest.json").stat().st_mtime_ns == before
    code, said = run(*words, "--prompts", prompts, "--seed", 4)
    assert code == 2
    assert "other settings (settings.seed)" in said
    assert "Traceback" not in said
    code, said = run(*words, "--prompts", prompts, "--seed", 4, "--overwrite")
    assert code == 0, said
    assert json.loads((output / "manifest.json").read_text())["settings"]["seed"] == 4
    output = tmp_path / "room.old"
    assert check_manifest(output)["settings"]["seed"] == 3

    again = (*common, "--output", tmp_path / "again")
    assert run(*again, "--prompts", prompts, "--seed", 3, "--view-chunk", 1)[0] == 0
    for one, other in zip(pixels(output), pixels(tmp_path / "again"), strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1  # chunks change the order of sums at most


@pytest.mark.long
def test_a_model_is_asked_as_it_was_trained(
    run: Run, models: dict[str, Path], tmp_path: Path
) -> None:
    """The prefix stands before the prompt, and the sampler is the named one."""
    words = ("generate", "panorama", "--model", models["panorama"], *FAST, *FOUR, "--steps", 3)
    solver = ("--scheduler", "DPMSolverMultistepScheduler", "--algorithm-type")
    wishes = {
        "whole": ("--prompt", "a red wall"),
        "parts": ("--prompt-prefix", "a ", "--prompt", "red wall"),
        "ode": ("--prompt", "a red wall", *solver, "dpmsolver++"),
        "sde": ("--prompt", "a red wall", *solver, "sde-dpmsolver++"),
    }
    images = {}
    for name, wish in wishes.items():
        code, said = run(*words, *wish, "--output", tmp_path / name)
        assert code == 0, said
        images[name] = np.stack(pixels(tmp_path / name))
    assert (images["whole"] == images["parts"]).all()
    made = json.loads((tmp_path / "sde/manifest.json").read_text())["settings"]
    assert (made["scheduler"], made["algorithm_type"]) == (solver[1], "sde-dpmsolver++")
    assert (images["ode"] != images["whole"]).mean() > 0.1
    assert (images["ode"] != images["sde"]).mean() > 0.1
    ddim = ("--prompt", "x", "--algorithm-type", "sde-dpmsolver++", "--output", tmp_path / "x")
    code, said = run(*words, *ddim)
    assert (code, "as only DPMSolverMultistepScheduler takes one" in said) == (2, True)


@pytest.mark.long
def test_outpaint_keeps_the_given_views(
    run: Run, models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Wider than high, with a mark beside the middle square that must be cropped away.
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, 20:60] = np.linspace(0, 200, 40, dtype=np.uint8)[:, None, None]
    wide[:, :20] = (255, 0, 0)
    Image.fromarray(wide).save(tmp_path / "a.png")
    Image.fromarray(wide[::-1]).save(tmp_path / "b.jpg", quality=95)
    Image.fromarray(wide[..., 0].astype(np.uint16) * 200).save(tmp_path / "deep.png")
    words = PngImagePlugin.PngInfo()
    words.add_text("a", "a" * 2_000_000, zip=True)  # unpacks to more than Pillow takes
    Image.fromarray(wide).save(tmp_path / "wordy.png", pnginfo=words)
    output = tmp_path / "out"
    words = ("generate", "outpaint", "--model", models["outpaint"], "--prompt", "a wall", *FAST)
    given = ("--image", f"2={tmp_path / 'a.png'}", "--image", f"0={tmp_path / 'b.jpg'}")
    code, said = run(*words, *given, "--num-views", 4, "--output", output)
    assert code == 0, said
    assert check_manifest(output)["settings"]["given"]["2"]["name"] == "a.png"
    pipeline = MVDiffusionOutpaintPipeline.from_pretrained(models["outpaint"])
    square = Image.fromarray(wide[:, 20:60]).resize((32, 32), Image.Resampling.LANCZOS)
    image = torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 127.5 - 1
    with torch.no_grad():
        codec = pipeline.decode_latents(pipeline.encode_views(image[None, None]))[0, 0]
    found = read_image(sample_of(output) / "2.png") / 2 + 0.5
    assert (found - codec).abs().max() < 0.02
    for flags, message in (
        (("--image", tmp_path / "none.png"), r"none.png: No such file"),
        (("--image", tmp_path / "a.png", "--image", tmp_path / "b.jpg"), "view 0 is given twice"),
        (("--image", f"9={tmp_path / 'a.png'}"), r"Expected `given_views` in 0 … 7, got 9"),
        (("--image", Path(__file__)), "not a whole image"),
        (("--image", tmp_path / "deep.png"), r"more than 8 bits \(mode I;16\)"),
        (("--image", tmp_path / "wordy.png"), "not a whole image"),
    ):
        code, said = run(*words, *flags, "--output", tmp_path / "other")
        assert code == 2
        assert re.search(message, said), said
        assert not (tmp_path / "other").exists()


def test_depth(run: Run, models: dict[str, Path], tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene", 9, [0, 4, 8])
    words = ("generate", "depth", "--model", models["depth"], "--scene", scene, *FAST)
    size = ("--height", HEIGHT // 2, "--width", WIDTH // 2)
    output = tmp_path / "out"
    code, said = run(*words, *size, "--stride", 2, "--output", output)
    assert code == 0, said
    code, said = run(*words, *size, "--stride", 0, "--prompt-prefix", "Look: ", "--output",
                     tmp_path / "prefixed")  # fmt: skip
    assert code == 0, said
    captions = (sample_of(tmp_path / "prefixed") / "prompt.txt").read_text().splitlines()
    assert all(caption.startswith("Look: a ") for caption in captions)
    cameras = json.loads((sample_of(output) / "cameras.json").read_text())
    assert cameras["frames"] == [0, 2, 4, 6, 8]
    assert cameras["key_frames"] == [0, 2, 4]
    assert len(cameras["pose"]) == len(pixels(output)) == 5
    assert pixels(output)[0].shape == (HEIGHT // 2, WIDTH // 2, 3)
    millimeters = np.array(Image.open(sample_of(output) / "depth" / "1.png"))
    assert abs(millimeters.mean() / 1000 - render(2)[1].mean()) < 0.02
    assert (
        (sample_of(output) / "prompt.txt").read_text().splitlines()[1].endswith("a red wall, no. 2")
    )
    assert "sequence.mp4" in check_manifest(output)["files"]
    code, said = run(
        *words, *size, "--stride", 0, "--key-frames", 2, "--prompt", "red", "--prompt-prefix", "a ",
        "--output", tmp_path / "keys",
    )  # fmt: skip
    assert code == 0, said
    assert json.loads((sample_of(tmp_path / "keys") / "cameras.json").read_text())["frames"] == [
        0,
        4,
    ]
    assert (sample_of(tmp_path / "keys") / "prompt.txt").read_text() == "a red\na red\n"
    assert "squeeze" not in said
    wide = ("--height", HEIGHT // 2, "--width", WIDTH, "--stride", 0, "--output", tmp_path / "wide")
    code, said = run(*words, *wide)
    assert code == 0, said
    assert "are 1.33 times as wide as high, and 64 x 24 pixels squeeze them; --width 32" in said
    code, said = run(*words, "--stride", -1, "--output", tmp_path / "other")
    assert (code, "greater than or equal to 0" in said) == (2, True)
    code, said = run(*words, "--key-frames", 4, "--output", tmp_path / "other")
    assert (code, "scene has 3; expected a number from 1 to that" in said) == (2, True)


@pytest.mark.long
def test_results_can_be_scored_as_they_are(
    run: Run, models: dict[str, Path], tmp_path: Path
) -> None:
    scene = write_scene(tmp_path / "scene", 5, [0, 2, 4])
    Image.new("RGB", (32, 32), "red").save(tmp_path / "a.png")
    wishes = {
        "panorama": ("--prompt", "a red wall"),
        "outpaint": ("--prompt", "a red wall", "--image", tmp_path / "a.png"),
        "depth": ("--scene", scene, "--height", HEIGHT // 2, "--width", WIDTH // 2),
    }
    for task, more in wishes.items():
        output, score = tmp_path / task, tmp_path / f"{task}.json"
        words = ("generate", task, "--model", models[task], "--output", output, *FAST)
        assert run(*words, *more)[0] == 0
        with pytest.raises(SystemExit) as ended:
            eval_command(["score", "--generated", str(output), "--output", str(score)])
        assert not ended.value.code
        content = json.loads(score.read_text())
        assert (content["task"], content["method"]) == (task, "mvdiffusion")
        assert content["metrics"]["cross_view_psnr"]["value"] > 0


def keys_of(scene: Path) -> list[str]:
    return (scene / "key_frame_0.6.txt").read_text().split()


def test_depth_needs_no_color_images(run: Run, models: dict[str, Path], tmp_path: Path) -> None:
    """Key frames, one sequence, and a whole split of scenes that were rendered without color."""
    scene, size = tmp_path / "data/test/scene", ("--height", HEIGHT // 2, "--width", WIDTH // 2)
    write_scene(scene, 9, None)
    shutil.rmtree(scene / "color")
    code, said = run("data", "key-frames", "--scene", scene, "--overlap", 0.9)
    assert code == 0, said
    words = ("generate", "depth", "--model", models["depth"], "--scene", scene, *size, *FAST)
    code, said = run(*words, "--output", tmp_path / "one")
    assert code == 0, said
    frames = {"height": HEIGHT // 2, "width": WIDTH // 2, "num_views": len(keys_of(scene))}
    settings = json.dumps({"data": frames, "num_inference_steps": 1, "device": "cpu"})
    words = (
        *("generate", "split", "--task", "depth", "--model", models["depth"], "--data"),
        *(tmp_path / "data", "--settings", settings),
    )
    code, said = run(*words, "--method", "mvdiffusion", "--output", tmp_path / "split")
    assert code == 0, said
    assert len(pixels(tmp_path / "split")) == len(pixels(tmp_path / "one"))
    code, said = run(*words, "--method", "vae_reconstruction", "--output", tmp_path / "real")
    assert (code, "color/0.jpg: no such file" in said) == (2, True)


def test_scenes_without_key_frames_get_them(
    run: Run, models: dict[str, Path], tmp_path: Path
) -> None:
    scene = write_scene(tmp_path / "scene", 6, None)
    words = ("generate", "depth", "--model", models["depth"], "--output", tmp_path / "out")
    code, said = run(*words, "--scene", scene)
    assert code == 2
    assert "mvdiffusion data key-frames" in said
    before = sorted(scene.rglob("*"))
    words_of_keys = ("data", "key-frames", "--scene", scene, "--overlap", 0.8)
    code, said = run(*words_of_keys, "--list")
    assert (code, f"{scene}:" in said) == (0, True)
    assert sorted(scene.rglob("*")) == before, "listing writes nothing"
    assert run(*words_of_keys)[0] == 0
    listed = [line.split() for line in said.splitlines()[-len(keys_of(scene)) :]]
    assert [line[0] for line in listed] == keys_of(scene)
    assert all(0.3 < float(share) < 1 for _, share in listed[1:])  # listed[0] has none before it
    size = ("--height", HEIGHT // 2, "--width", WIDTH // 2)
    code, said = run(*words, "--scene", scene, *size, "--stride", 0, *FAST)
    assert code == 0, said


@pytest.mark.long
def test_unfitting_wishes(run: Run, models: dict[str, Path], prompts: Path, tmp_path: Path) -> None:
    words = ("generate", "panorama", "--model", models["panorama"], "--output", tmp_path / "out")
    both = ("--prompt", "x", "--prompts", prompts)
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "two").write_text("a red wall\na wall\n")
    (tmp_path / "eight").write_text("a red wall\n" * 8)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").write_text("keep me")
    for flags, message in (
        ((), "either --prompt TEXT or --prompts FILE"),
        (both, "either --prompt TEXT or --prompts FILE"),
        (
            ("--prompts", tmp_path / "none"),
            "/none: No such file or directory; expected a text file",
        ),
        (("--prompts", tmp_path / "empty.txt"), "no text in it"),
        (("--prompt", "x", "--height", 30), "Expected `height` and `width` divisible by 4"),
        (("--prompt", "x", "--model", tmp_path), "no model_index.json"),
        (("--prompt", "x", "--model", models["depth"]), "no model of the task panorama"),
        (("--prompt", "x", "--output", tmp_path / "taken"), "holds other files"),
        (
            ("--prompts", prompts),
            "line 2 is blank; expected a prompt in every line, or --num",
        ),
        (("--prompts", tmp_path / "two"), "(`num_views`, --num-views)"),
        (("--prompts", tmp_path / "two", "--num-views", 6), "2 lines; expected 1 or 6, one per"),
        (("--prompts", tmp_path / "eight", "--num-views", 6), "8 lines; expected 1 or 6, one per"),
        (("--prompt", "x", "--num-views", -2), "greater than or equal to 1"),
        (("--prompt", "x", "--num-views", 0), "greater than or equal to 1"),
        (("--prompt", "x", "--height", 0), "greater than or equal to 8"),
        (("--prompt", "x", "--fov-deg", 180), "`fov_deg` between 0 and 180"),
        (("--prompt", "x", "--steps", 2000), "`num_inference_steps` in 1 … 1000"),
        (("--prompt", "x", "--guidance-scale", "nan"), "'guidance_scale' is nan; expected a"),
        (("--prompt", "x", "--guidance-scale", "inf"), "'guidance_scale' is inf; expected a"),
        (("--prompt", "x", "--guidance-scale", 1e9), "at least 0 and at most 100"),
        (("--prompt", "x", "--seed", -1), "'seed' is -1; expected a whole number, at least 0"),
    ):
        code, said = run(*words, *FAST, *flags)
        assert code == 2
        said = " ".join(said.split())
        assert message in said, said
        assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "taken" / "letter.txt").read_text() == "keep me"


def test_damaged_weights_leave_no_sample(run: Run, models: dict[str, Path], tmp_path: Path) -> None:
    """One NaN in the weights: neither a panorama nor a sample of a split is written, or kept."""
    model = Path(shutil.copytree(models["panorama"], tmp_path / "model"))
    path = model / "unet/diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["unet.conv_out.bias"][0] = torch.nan
    save_file(weights, path)
    code, said = run(
        *("generate", "panorama", "--model", model, "--prompt", "red", *FAST),
        *("--output", tmp_path / "one"),
    )
    assert (code, "weights are damaged" in said, "Traceback" in said) == (2, True, False)
    assert not (tmp_path / "one").exists()
    write_rooms(tmp_path / "data", "test", ["a", "b"], 0)
    settings = {"data": {"image_size": 16}, "num_inference_steps": 1, "device": "cpu"}
    code, said = run(
        *("generate", "split", "--method", "independent", "--model", model),
        *("--data", tmp_path / "data", "--settings", json.dumps(settings)),
        *("--output", tmp_path / "split"),
    )
    assert (code, "weights are damaged" in said) == (2, True)
    assert [path.name for path in (tmp_path / "split").iterdir()] == [".output.json"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_device_that_is_not_there(run: Run, models: dict[str, Path], tmp_path: Path) -> None:
    """For one panorama, a split and a training: before anything is written."""
    write_rooms(tmp_path / "data", "test", ["a", "b"], 0)
    model, data = ("--model", models["panorama"]), ("--data", tmp_path / "data")
    settings = {"data": {"image_size": 16}, "device": "cuda"}
    numbers = {"steps": 1, "batch_size": 1, "learning_rate": 1}
    training = {**settings, "seed": 0, "training": numbers}
    places = ("--validation", tmp_path, "--checkpoints", tmp_path, "--log-dir", tmp_path)
    for words in (
        ("generate", "panorama", *model, "--prompt", "red", "--device", "cuda"),
        ("generate", "split", "--method", "independent", *model, *data, "--settings", settings),
        ("train", "stage2", "--base", tmp_path, *data, *places, "--settings", training),
    ):
        words = (json.dumps(word) if isinstance(word, dict) else word for word in words)
        code, said = run(*words, "--output", tmp_path / "out")
        assert (code, "PyTorch finds no GPU" in said) == (2, True), said
        assert not (tmp_path / "out").exists()


def test_a_byte_order_mark_is_no_prompt(run: Run, models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_bytes(b"\xef\xbb\xbfa lake\r\n")
    words = ("generate", "panorama", "--model", models["panorama"], *FAST, "--num-views", 5)
    code, said = run(*words, "--prompts", tmp_path / "prompts.txt", "--output", tmp_path / "out")
    assert code == 0, said
    assert (sample_of(tmp_path / "out") / "prompt.txt").read_text() == "a lake\n" * 5
