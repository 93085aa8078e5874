"""Artifacts: packed in one place, verified in another; everything in them is hashed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shlex
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import foreign
import numpy as np
import pytest
import toy
import walks
from forged import members

import mvdiffusion_eval
from mvdiffusion.records import InputError, write_json
from mvdiffusion_eval.artifacts.packing import MACHINE_PATH
from mvdiffusion_eval.scoring.verification import sealed
from mvdiffusion_eval.settings import ScoreSettings

pytestmark = pytest.mark.long

FEW = ("controls", "paper-consistency-pano", "paper-consistency-depth")
SETTINGS = ScoreSettings(consistency_resolution=toy.SIZE, jackknife_groups=4)


def scored(folder: Path, output: Path, reference: Path | None = None, **options: object) -> Path:
    settings = dataclasses.replace(SETTINGS, inception_splits=2)
    write_json(output, mvdiffusion_eval.score(folder, reference, settings=settings, **options))
    return output


@pytest.fixture(scope="module")
def panoramas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of 4 rooms, the score of one, and its artifact."""
    root, real = tmp_path_factory.mktemp("panoramas"), toy.real_samples(4)
    toy.write_folder(root / "real", "real", real)
    toy.write_folder(root / "made", "made", toy.noisy(real, 3))
    scored(root / "made", root / "score.json", root / "real", protocols=FEW)
    mvdiffusion_eval.pack(
        root / "score.json", root / "made", root / "made.zip", root / "real", images=True
    )
    return root


@pytest.mark.parametrize("task", ["panorama", "outpaint", "depth"])
def test_verified_in_another_place(
    task: str, world: Path, scores: Path, extractors: list[Path], tmp_path: Path
) -> None:
    folders, artifact = world.parent / task, tmp_path / "one" / "artifact.zip"
    score = scores.parent / task / "mvdiffusion.json"
    bound = "vae_reconstruction" if task == "outpaint" else None
    more = {"vae_reconstruction": folders / bound} if bound else {}
    packed = mvdiffusion_eval.pack(
        score, folders / "mvdiffusion", artifact, folders / "real", images=True, **more
    )
    other = tmp_path / "other place"
    for name in filter(None, ("real", bound)):
        shutil.copytree(folders / name, other / name)
    networks = [shutil.copytree(each, other / each.name) for each in extractors]
    moved = shutil.move(artifact, other / "theirs.zip")
    found = mvdiffusion_eval.verify(
        moved,
        reference=other / "real",
        vae_reconstruction=other / bound if bound else None,
        extractors=networks,
    )
    assert (found.of("differs"), found.of("unverified")) == ([], [])
    count = len(json.loads(score.read_text())["metrics"])
    numbers = f"{count} of {count} metrics, scored again, with all values behind them"
    assert numbers in [finding.what for finding in found.of("agrees")]
    weights = {path: json.loads((path / "extractor.json").read_text()) for path in extractors}
    expected = {each["weights_sha256"] for each in weights.values()}
    assert set(packed.manifest.extractors.values()) == expected


def released_panoramas(root: Path) -> tuple[Path, Path]:
    real = toy.real_samples(3)
    folder = foreign.released_panoramas(root / "released", toy.noisy(real, 3), real)
    return folder, folder


def released_sequences(root: Path) -> tuple[Path, Path]:
    real = walks.real_samples(3)
    folder = foreign.released_sequences(root / "released", toy.noisy(real, 3), real)
    return folder, folder


def loose_panoramas(root: Path) -> tuple[Path, Path]:
    return foreign.panoramas(root / "loose", 3), foreign.panfusion(root / "real", 4)


def panfusion(root: Path) -> tuple[Path, Path]:
    return foreign.panfusion(root / "panfusion", 3, "jpg"), foreign.panfusion(root / "real", 3)


LAYOUTS: dict[str, tuple[Callable[[Path], tuple[Path, Path]], dict]] = {
    "released panoramas": (released_panoramas, {}),
    "released sequences": (released_sequences, {}),
    "equirectangular images": (loose_panoramas, {"view_size": 48}),
    "smaller ones": (loose_panoramas, {"view_size": 32, "panorama_height": 64}),
    "PanFusion": (
        panfusion,
        {"view_size": 32, "yaw_deg": [10.0, 100.0, 190.0, 280.0], "fov_deg": 100.0},
    ),
}


SLOW = {"smaller ones", "PanFusion"}


@pytest.mark.parametrize(
    "layout",
    [pytest.param(each, marks=[pytest.mark.slow] if each in SLOW else []) for each in LAYOUTS],
)
def test_every_layout(layout: str, tmp_path: Path) -> None:
    make, options = LAYOUTS[layout]
    folder, real = make(tmp_path)
    score = scored(folder, tmp_path / "score.json", real, protocols=FEW, **options)
    mvdiffusion_eval.pack(score, folder, tmp_path / "a.zip", real, images=True)
    inside = [n for n in members(tmp_path / "a.zip") if n.startswith("images/")]
    assert not [name for name in inside if "_natural" in name or "_gt" in name]
    found = mvdiffusion_eval.verify(tmp_path / "a.zip", reference=real)
    assert (found.of("differs"), found.of("unverified")) == ([], [])
    assert any(finding.part == "numbers" for finding in found.of("agrees"))


def test_the_same_bytes_each_time_and_no_path_of_the_machine(
    panoramas: Path, tmp_path: Path
) -> None:
    place = shutil.copytree(panoramas, tmp_path / "copy")
    for path in (place / "made").rglob("*"):
        os.utime(path, (0, 0))
    mvdiffusion_eval.pack(
        place / "score.json", place / "made", tmp_path / "b.zip", place / "real", images=True
    )
    assert (tmp_path / "b.zip").read_bytes() == (panoramas / "made.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "b.zip") as opened:
        assert {info.date_time for info in opened.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert opened.namelist()[:3] == ["manifest.json", "scores.json", "croissant.json"]
    for name in ("manifest.json", "croissant.json"):
        text = members(tmp_path / "b.zip")[name].decode()
        assert str(tmp_path) not in text
        assert str(panoramas) not in text


def test_the_manifest_hashes_every_file(panoramas: Path) -> None:
    packed = members(panoramas / "made.zip")
    manifest = json.loads(packed["manifest.json"])
    for role, folder in (("generated", "made"), ("reference", "real")):
        root = panoramas / folder
        files = {n: d for kind in manifest[role].values() for n, d in kind.items()}
        own = [p for p in root.rglob("*") if p.is_file()]
        if role == "reference":  # whose prompts and manifest decide no number
            own = [path for path in own if path.suffix == ".png"]
        assert files == {
            p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in own
        }
    assert manifest["members"] == {
        name: hashlib.sha256(text).hexdigest()
        for name, text in packed.items()
        if name != "manifest.json"
    }
    assert packed["scores.json"] == (panoramas / "score.json").read_bytes()
    lines = (panoramas / "made/room002/prompt.txt").read_text().splitlines()
    assert manifest["prompts"]["room002"] == lines
    assert manifest["packages"]["numpy"] == np.__version__
    assert len(manifest["code"]["sha256"]) == 64


def test_its_command_scores_again(
    panoramas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(panoramas / "made.zip") as opened:
        opened.extractall(tmp_path)
    shutil.copytree(panoramas / "real", tmp_path / "reference")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    program, *words = shlex.split(manifest["command"])
    assert program == "mvdiffusion-eval"
    monkeypatch.chdir(tmp_path)
    toy.run(*words)
    first = json.loads((panoramas / "score.json").read_text())["metrics"]
    assert json.loads((tmp_path / "scored_again.json").read_text())["metrics"] == first
    assert (tmp_path / "scores.json").read_bytes() == (panoramas / "score.json").read_bytes()
    arguments = manifest["arguments"]
    arguments["settings"] = ScoreSettings(**arguments["settings"])
    again = mvdiffusion_eval.score(**arguments)
    assert json.loads(json.dumps(again["metrics"])) == first


def test_without_images_they_are_given(panoramas: Path, tmp_path: Path) -> None:
    artifact = tmp_path / "a.zip"
    packed = mvdiffusion_eval.pack(panoramas / "score.json", panoramas / "made", artifact)
    assert [w for w in packed.warnings if "hashes of the reference are not recorded" in w]
    assert list(members(artifact)) == ["manifest.json", "scores.json", "croissant.json"]
    found = mvdiffusion_eval.verify(artifact)
    assert found.agrees
    unverified = {(finding.part, finding.what) for finding in found.of("unverified")}
    given = "files, whose hashes are recorded; give their folder (--images)"
    assert ("images", f"32 {given}") in unverified
    assert ("numbers", "were not scored again: without the generated images") in unverified
    found = mvdiffusion_eval.verify(artifact, panoramas / "made", panoramas / "real")
    assert (found.of("differs"), found.of("unverified")) == ([], [])


def test_what_the_reference_decides_is_unverified_without_it(panoramas: Path) -> None:
    found = mvdiffusion_eval.verify(panoramas / "made.zip")
    assert found.agrees
    (numbers,) = [f.what for f in found.of("unverified") if f.part == "numbers"]
    assert numbers.startswith("cross_view_psnr_ratio, gradient_energy_ratio: needs the reference")
    found = mvdiffusion_eval.verify(panoramas / "made.zip", rescored=False)
    assert [f.what for f in found.of("unverified") if f.part == "numbers"] == [
        "were not scored again (--no-rescore)"
    ]


def test_some_samples_of_a_folder(
    panoramas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `compare --common` scores them."""
    samples = ["room001", "room003"]
    score = scored(panoramas / "made", tmp_path / "s.json", samples=samples, protocols=FEW)
    packed = mvdiffusion_eval.pack(score, panoramas / "made", tmp_path / "a.zip", images=True)
    assert packed.manifest.arguments["samples"] == samples
    _, *words = shlex.split(packed.manifest.command)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(panoramas / "made", "images")
    toy.run(*words)
    first, again = (json.loads(Path(name).read_text()) for name in ("s.json", "scored_again.json"))
    assert again["metrics"] == first["metrics"]
    found = mvdiffusion_eval.verify(tmp_path / "a.zip")
    assert (found.of("differs"), found.of("unverified")) == ([], [])


def test_folders_that_were_not_scored_are_refused(panoramas: Path, tmp_path: Path) -> None:
    score, output = panoramas / "score.json", tmp_path / "a.zip"
    with pytest.raises(InputError, match=r"generated: the sha256 of the images is .* in the score"):
        mvdiffusion_eval.pack(score, panoramas / "real", output)
    with pytest.raises(InputError, match="reference: the sha256 of the images is "):
        mvdiffusion_eval.pack(score, panoramas / "made", output, panoramas / "made")
    alone = scored(panoramas / "made", tmp_path / "alone.json", protocols=FEW)
    with pytest.raises(InputError, match=r"--reference: .*alone.json was scored without"):
        mvdiffusion_eval.pack(alone, panoramas / "made", output, panoramas / "real")
    assert not output.exists()


def test_paths_of_the_machine_in_a_score_file_are_told(panoramas: Path, tmp_path: Path) -> None:
    """They cannot be taken out of it without breaking its seal."""
    content = mvdiffusion_eval.score(panoramas / "real", settings=SETTINGS, protocols=FEW)
    content["warnings"] = [f"a warning about {tmp_path}"]
    write_json(tmp_path / "s.json", sealed(content))
    packed = mvdiffusion_eval.pack(tmp_path / "s.json", panoramas / "real", tmp_path / "a.zip")
    assert [w for w in packed.warnings if w.startswith("scores.json names paths of this machine")]
    assert not MACHINE_PATH.findall("dB/step, 1/2, https://spdx.org/licenses/MIT, images/a.png")
