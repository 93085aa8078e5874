"""Saved folders say what they hold, and load by diffusers' generic class, from disk and hub."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers import DiffusionPipeline
from noise_data import walk
from released_checkpoints import write_base
from tiny_models import TASKS

from mvdiffusion.pipelines import MVDiffusionDepthPipeline, MVDiffusionPanoramaPipeline
from mvdiffusion.pipelines.loading import HASHES, check_files, record_files
from mvdiffusion.records import InputError

INPUTS: dict[str, dict[str, Any]] = {
    "panorama": {"num_views": 3, "fov_deg": 130.0},
    "outpaint": {"num_views": 3, "fov_deg": 130.0, "image": torch.ones(1, 3, 16, 16) / 2},
    "depth": walk(3),
}


@pytest.fixture(autouse=True)
def own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where diffusers copies the files to that it runs."""
    for name in ("utils.dynamic_modules_utils", "utils.constants"):
        monkeypatch.setattr(f"diffusers.{name}.HF_MODULES_CACHE", str(tmp_path / "modules"))


def sample(pipeline: Any, task: str) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(1)
    options = {"num_inference_steps": 2, "output_type": "pt", "generator": generator}
    return pipeline("a room", **INPUTS[task], **options).images


@pytest.mark.parametrize("task", TASKS)
def test_diffusers_loads_a_folder_by_its_own_files(
    task: str, make: Callable[..., Any], models: dict[str, Path]
) -> None:
    folder = models[task]
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        DiffusionPipeline.from_pretrained(folder)
    loaded = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
    assert type(loaded) is TASKS[task][0]
    torch.testing.assert_close(sample(loaded, task), sample(make(task), task), atol=1e-5, rtol=0)


def test_its_own_class_runs_no_file_of_a_folder(make: Callable[..., Any], tmp_path: Path) -> None:
    make("panorama").save_pretrained(tmp_path / "model")
    for name in ("pipeline.py", "unet/multiview_unet.py", "vae/patch_autoencoder.py"):
        assert (tmp_path / "model" / name).is_file()
        (tmp_path / "model" / name).write_text("raise SystemExit('this ran')")
    assert MVDiffusionPanoramaPipeline.from_pretrained(tmp_path / "model")


def test_folders_of_before_load_as_ever(make: Callable[..., Any], tmp_path: Path) -> None:
    make("panorama").save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["_class_name"] == ["pipeline", "MVDiffusionPanoramaPipeline"]
    index |= {
        "_class_name": "MVDiffusionPanoramaPipeline",
        "unet": ["mvdiffusion.models.multiview_unet", "MultiViewUNet"],
        "vae": ["mvdiffusion.models.patch_autoencoder", "PatchAutoencoder"],
    }
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    for path in tmp_path.rglob("*.py"):
        path.unlink()
    assert MVDiffusionPanoramaPipeline.from_pretrained(tmp_path)


def test_without_the_package_one_sentence_says_what_to_install(
    models: dict[str, Path], tmp_path: Path
) -> None:
    found = subprocess.run(
        [sys.executable, "-I", "-S", str(models["panorama"] / "pipeline.py")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert re.search(
        r"ImportError: .* package mvdiffusion, which is not .* `pip install", found.stderr
    )
    assert "During handling" not in found.stderr


def test_the_card_says_what_the_folder_holds(make: Callable[..., Any], tmp_path: Path) -> None:
    pipeline = make("depth")
    pipeline.save_pretrained(tmp_path)
    _, front, text = (tmp_path / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "diffusers"
    added = sum(weights.numel() for weights in pipeline.unet.correspondence_parameters())
    total = sum(weights.numel() for weights in pipeline.unet.parameters())
    for said in ("text, depth and camera poses", "2307.01097", f"{total:,}, of which {added:,}",
                 "variant `released`", "MVDiffusionDepthPipeline.from_pretrained",
                 "trust_remote_code=True", "Open RAIL++-M", "not recorded"):  # fmt: skip
        assert said in text, said


def test_hashes_cover_all_files_and_follow_when_a_folder_is_written_anew(
    make: Callable[..., Any], tmp_path: Path
) -> None:
    make("panorama").save_pretrained(tmp_path)
    record_files(tmp_path)
    hashed = set(json.loads((tmp_path / HASHES).read_text())["files"])
    assert {"README.md", "pipeline.py", "model_index.json", "unet/multiview_unet.py",
            "vae/patch_autoencoder.py"} <= hashed  # fmt: skip
    changed = make("panorama")
    torch.nn.init.ones_(changed.unet.unet.conv_in.bias)
    changed.save_pretrained(tmp_path)
    check_files(tmp_path)
    (tmp_path / "pipeline.py").write_text("")
    with pytest.raises(InputError, match=r"pipeline\.py: has changed"):
        MVDiffusionPanoramaPipeline.from_pretrained(tmp_path)


def test_wrong_folders_are_one_sentence(models: dict[str, Path], tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    (tmp_path / "empty").mkdir()
    (tmp_path / "pano.ckpt").write_bytes(b"")
    panorama, depth = MVDiffusionPanoramaPipeline, MVDiffusionDepthPipeline
    for load, folder, said in (
        (panorama.from_pretrained, base, "MVDiffusionPanoramaPipeline.from_single_view"),
        (
            panorama.from_pretrained,
            models["depth"],
            "no model of the task panorama: .* got 'depth' with 5; take",
        ),
        (panorama.from_pretrained, models["outpaint"], "4 input channels .* got 'panorama' with 9"),
        (depth.from_pretrained, models["panorama"], "'depth' with 5 .* got 'panorama' with 4"),
        (panorama.from_pretrained, tmp_path / "empty", "no model_index.json"),
        (panorama.from_pretrained, tmp_path / "pano.ckpt", "is a file; .* `mvdiffusion convert`"),
        (panorama.from_pretrained, tmp_path / "none", "no such folder"),
        (panorama.from_single_view, models["panorama"], "which `from_pretrained` loads"),
        (panorama.from_single_view, tmp_path / "empty", "no model_index.json"),
        (panorama.from_single_view, tmp_path / "pano.ckpt", "is a file"),
        (panorama.from_single_view, tmp_path / "none", "no Stable Diffusion model"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            load(folder)
        assert "\n" not in str(caught.value)


def test_tiles_need_a_vae_that_knows_them(make: Callable[..., Any]) -> None:
    pipeline = make("panorama")
    with pytest.raises(InputError, match=r"knows tiles, .* got a PatchAutoencoder"):
        pipeline.enable_vae_tiling()


@contextmanager
def hub(folder: Path, repository: str) -> Iterator[str]:
    """Serve one model as the Hugging Face hub does, as far as downloads need it."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.*")}

    class Handler(BaseHTTPRequestHandler):
        def answer(self, content: bytes, kind: str = "application/json") -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hash(content):x}"')
            self.send_header("X-Repo-Commit", commit)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path.startswith(f"/api/models/{repository}/tree/"):
                entries = [{"type": "file", "path": name, "size": path.stat().st_size, "oid": "0"}
                           for name, path in files.items()]  # fmt: skip
                self.answer(json.dumps(entries).encode())
            elif path.startswith(f"/api/models/{repository}"):
                siblings = [{"rfilename": name} for name in files]
                about = {"_id": "1", "id": repository, "sha": commit, "siblings": siblings}
                self.answer(json.dumps(about).encode())
            elif "/resolve/" in path and (name := path.split("/", 5)[5]) in files:
                self.answer(files[name].read_bytes(), "application/octet-stream")
            else:
                self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


FROM_HUB = """
from diffusers import DiffusionPipeline
from mvdiffusion.pipelines import MVDiffusionPanoramaPipeline
generic = DiffusionPipeline.from_pretrained("someone/rooms", trust_remote_code=True)
own = MVDiffusionPanoramaPipeline.from_pretrained("someone/rooms")
assert type(generic) is type(own) is MVDiffusionPanoramaPipeline
for name, weights in own.unet.state_dict().items():
    assert weights.equal(generic.unet.state_dict()[name])
print("loaded both ways")
"""


@pytest.mark.slow
def test_diffusers_loads_it_from_the_hub(models: dict[str, Path], tmp_path: Path) -> None:
    with hub(models["panorama"], "someone/rooms") as address:
        home = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
        found = subprocess.run(
            [sys.executable, "-c", FROM_HUB],
            env={**os.environ, **home, "HF_HUB_OFFLINE": "0"},
            capture_output=True,
            text=True,
        )
    assert found.stdout.endswith("loaded both ways\n"), found.stderr
