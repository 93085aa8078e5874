"""What a configuration asks for: hashes of images, promised figures, where data come from."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake_interface_common.exceptions import WorkflowError
from workflow_project import ROOT, embedded_files

from mvdiffusion.preparation.rooms import ROOMS, RoomSettings
from mvdiffusion.settings import parse
from mvdiffusion_eval.metrics.base import LEAST_SAMPLES
from workflow.lib.sources import Sources
from workflow.lib.tasks import Tasks

TASKS = ("panorama", "outpaint", "depth")


def read(name: str = "scratch") -> dict[str, Any]:
    """Read a configuration; "scratch" is mini with a base that it trains itself."""
    if name == "scratch":
        return read("mini") | {"base": read("smoke")["base"]}
    return yaml.safe_load((ROOT / f"workflow/config/{name}.yaml").read_text())


def changed(config: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    """Change one key (dotted) in place."""
    *sections, name = key.split(".")
    section = config
    for part in sections:
        section = section[part]
    section[name] = value
    return config


def hashes(config: dict[str, Any]) -> dict[str, str]:
    tasks = Tasks(config, Sources(config))
    return {task: tasks.images_sha256(task) for task in TASKS}


@pytest.mark.parametrize(
    ("key", "value", "tasks"),
    [
        ("data.frames.num_between", 1, "depth"),
        ("data.walks.overlap", 0.1, "depth"),
        ("depth.stage2.variant", "released", "depth"),
        ("outpaint.base.training.steps", 1, "outpaint"),
        ("outpaint.generation.guidance_scale", 1.0, "outpaint"),
        ("panorama.stage1.loss.caption_dropout", 0.9, "panorama"),
        ("panorama.generation.num_samples", 3, "panorama"),
        ("base.vae.training.steps", 1, "panorama outpaint depth"),
        ("data.rooms.face_size", 8, "panorama outpaint depth"),
        ("seed", 1, "panorama outpaint depth"),
        ("device", "cuda", ""),
        ("panorama.methods", ["mvdiffusion"], ""),
        ("depth.stage2.training.log_every", 1, ""),
        ("base.vae.training.num_workers", 3, ""),
    ],
)
def test_hashes_of_images_know_what_is_upstream_of_their_task_only(
    key: str, value: object, tasks: str
) -> None:
    before, after = hashes(read()), hashes(changed(read(), key, value))
    assert {task for task in TASKS if before[task] != after[task]} == set(tasks.split())


@pytest.mark.parametrize(
    ("key", "tasks"),
    [
        *((key, "") for key in ("root", "downloads", "script", "python", "accept_terms",
                                "keep_downloads")),
        *((key, "panorama outpaint") for key in ("preparation", "splits", "captions", "labels")),
    ],
)  # fmt: skip
def test_where_data_come_from_changes_nothing_and_what_they_are_changes_all(
    key: str, tasks: str
) -> None:
    other = changed(read("paper"), f"datasets.matterport3d.{key}", ["elsewhere"])
    before, after = hashes(read("paper")), hashes(other)
    assert {task for task in TASKS if before[task] != after[task]} == set(tasks.split())


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("tasks", ["panorama", "depth"], True),
        ("tasks", ["outpaint", "depth"], False),
        ("evaluation.score.protocols", ["error-accumulation"], True),
        ("evaluation.score.protocols", ["paper-pano"], False),
        ("panorama.generation.num_samples", LEAST_SAMPLES, True),
        ("panorama.generation.num_samples", LEAST_SAMPLES - 1, False),
        ("panorama.generation.num_samples", None, True),
        ("data.rooms.num_scenes.test", LEAST_SAMPLES - 1, False),
        ("data.views.num_views", 2, False),
        ("data.sources.panorama", "matterport3d", False),
    ],
)
def test_errors_by_step_are_promised_where_they_are_certain(
    key: str, value: object, expected: bool
) -> None:
    config = changed(read(), key, value)
    tasks = Tasks(config, Sources(config))
    assert tasks.errors_by_step() == expected
    assert ("error_accumulation_panorama.csv" in tasks.figures) == expected


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("tasks", ["panorama"], True),
        ("tasks", ["outpaint", "depth"], False),
        ("evaluation.score.protocols", ["paper-consistency-pano"], True),
        ("evaluation.score.protocols", ["error-accumulation"], False),
        ("data.views.num_views", 5, True),
        ("data.views.num_views", 4, False),  # four views of 90° touch, and do not overlap
        ("data.views.fov_deg", 45.0, False),
    ],
)
def test_the_ring_is_promised_where_views_overlap_all_round(
    key: str, value: object, expected: bool
) -> None:
    config = changed(read(), key, value)
    assert ("ring_panorama.png" in Tasks(config, Sources(config)).figures) == expected


@pytest.mark.parametrize(
    ("key", "value", "rendered"),
    [
        ("num_scenes.test", 65, {"test"}),
        ("num_scenes.test", 32, {"test"}),
        ("num_scenes.validation", 8, {"validation"}),
        ("seed", 1, {"validation", "test"}),
        ("face_size", 64, {"validation", "test"}),
        ("jpeg_quality", 95, {"validation", "test"}),
    ],
)
def test_rooms_other_than_those_of_the_repository_are_rendered(
    key: str, value: int, rendered: set[str]
) -> None:
    held, asked = Sources(read()), Sources(changed(read(), f"data.rooms.{key}", value))
    assert held.rooms_file("test") == "data/test.npy"
    for split in ("validation", "test"):
        own = f"<results>/rooms/{split}/{split}.npy"
        assert asked.rooms_file(split) == (own if split in rendered else f"data/{split}.npy")
    assert set(asked.drawn("rooms")) - set(held.drawn("rooms")) == rendered
    assert len(asked.drawn("rooms")) == len(set(asked.drawn("rooms")))


def test_rendered_test_rooms_begin_with_those_of_the_repository(tmp_path: Path) -> None:
    rooms = read()["data"]["rooms"] | {"num_scenes": {"test": 2}}
    ROOMS.render(tmp_path / "rooms", parse(RoomSettings, rooms), workers=1)
    stored = embedded_files("data.dvc")
    files = [path for path in (tmp_path / "rooms").rglob("test-0000*/**/*") if path.is_file()]
    assert len(files) == 2 * (6 + 8)  # faces and captions
    for path in files:
        name = path.relative_to(tmp_path / "rooms").as_posix()
        assert path.read_bytes() == stored[name].read_bytes(), name


def test_the_embedded_base_is_the_start_of_all_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = read() | {"base": {"pretrained": "miniature"}}
    monkeypatch.chdir(tmp_path)
    found = []
    for digit in "12":
        (tmp_path / "base.dvc").write_text(f"outs:\n- md5: {digit * 32}.dir\n")
        found.append(hashes(config))
    assert all(found[0][task] != found[1][task] for task in TASKS)
    tasks = Tasks(config, Sources(config))
    assert {tasks.model_index(tasks.base(task)) for task in TASKS} == {"base/model_index.json"}
    assert not {"vae", "base"} & set(tasks.trained)
    assert Sources(config | {"tasks": ["depth"]}).used == {"walks"}
    changed(config, "base.embedded_md5", "3" * 32 + ".dir")
    with pytest.raises(WorkflowError, match=r"base\.dvc: .* hash 2+\.dir, but .* is 3+\.dir"):
        hashes(config)


@pytest.mark.parametrize("text", [None, "", "<<<<<<< HEAD\nouts:\n", "outs: []\n", "outs: [{}]\n"])
def test_a_damaged_record_of_embedded_files_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "base.dvc").write_text(text)
    with pytest.raises(WorkflowError, match=r"base\.dvc: names no .*`git checkout base\.dvc`"):
        Sources(read() | {"base": {"pretrained": "miniature"}}).embedded_md5("base")


def test_models_and_settings_of_methods() -> None:
    config = read()
    tasks = Tasks(config, Sources(config))
    models = {method: tasks.models("panorama", method)[0] for method in tasks.methods["panorama"]}
    multi_view = {"mvdiffusion", "wrong_correspondence"}
    assert {method for method, step in models.items() if step == "panorama_stage2"} == multi_view
    assert set(models.values()) == {"panorama_stage1", "panorama_stage2"}
    assert tasks.generation("panorama", "wrong_correspondence")["num_samples"] == 32
    assert tasks.generation("panorama", "mvdiffusion")["num_samples"] == 64
    changed(config, "depth.control_samples", 8)
    assert tasks.generation("depth", "wrong_correspondence")["num_samples"] == 8
    assert tasks.trained == [
        "vae", "base", "panorama_stage1", "panorama_stage2", "outpaint_base", "outpaint_stage2",
        "depth_stage1", "depth_stage2",
    ]  # fmt: skip
    paper = read("paper")
    assert Tasks(paper, Sources(paper)).trained == [
        "panorama_stage2", "outpaint_stage2", "depth_stage1", "depth_stage2",
        "panorama_panorama_finetune_model", "panorama_independent_finetuned_model",
        "depth_controlnet_model",
    ]  # fmt: skip
