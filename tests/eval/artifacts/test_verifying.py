"""Whatever is changed in an artifact is named, even by somebody who writes all hashes again."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from forged import dumped, members, with_hashes, with_members, with_score, write
from PIL import Image
from safetensors.torch import load_file, save_file

import mvdiffusion_eval
from mvdiffusion.records import InputError, sha256_file, write_json
from mvdiffusion_eval.artifacts.findings import Finding, Verification
from mvdiffusion_eval.artifacts.rescoring import TOLERANCE, numeric_differences
from mvdiffusion_eval.cli import main
from mvdiffusion_eval.extractors.base import load_trained
from mvdiffusion_eval.protocols.protocol import protocols
from mvdiffusion_eval.scoring.verification import sealed
from mvdiffusion_eval.settings import ScoreSettings

PROTOCOLS = ("controls", "paper-consistency-pano", "consistency-images")
VIEW, PROMPT = "images/room002/5.png", "images/room001/prompt.txt"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 4 rooms, its score, and the artifact of both."""
    root = tmp_path_factory.mktemp("place")
    folder = toy.write_folder(root / "made", "made", toy.noisy(toy.real_samples(4), 3))
    settings = ScoreSettings(consistency_resolution=toy.SIZE)
    content = mvdiffusion_eval.score(folder, settings=settings, protocols=PROTOCOLS)
    write_json(root / "score.json", content)
    mvdiffusion_eval.pack(root / "score.json", folder, root / "a.zip", images=True)
    return root


@pytest.fixture(scope="module")
def artifact(place: Path) -> Path:
    return place / "a.zip"


def differing(found: Verification) -> list[tuple[str, str]]:
    return [(finding.part, finding.what) for finding in found.of("differs")]


def pixel_changed(text: bytes) -> bytes:
    pixels = np.array(Image.open(io.BytesIO(text)))
    pixels[3, 4, 1] ^= 1
    Image.fromarray(pixels).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def test_as_it_was_packed_it_agrees(artifact: Path) -> None:
    found = mvdiffusion_eval.verify(artifact)
    assert found.agrees
    assert found.is_complete
    assert not found.of("note")


def test_a_changed_pixel(artifact: Path, tmp_path: Path) -> None:
    changed = {VIEW: pixel_changed(members(artifact)[VIEW])}
    found = mvdiffusion_eval.verify(with_members(artifact, tmp_path / "b.zip", changed))
    assert differing(found) == [
        ("members", f"{VIEW}: was changed (1 of 39 files)"),
        ("images", "room002/5.png: was changed (1 of 32 files)"),
    ]
    found = mvdiffusion_eval.verify(with_hashes(artifact, tmp_path / "c.zip", changed))
    (part, what), *_ = differing(found)
    assert part == "images"
    assert what.startswith("generated: the sha256 of the images is ")


def test_a_changed_prompt(artifact: Path, tmp_path: Path) -> None:
    changed = {PROMPT: b"Another room.\n"}
    found = mvdiffusion_eval.verify(with_members(artifact, tmp_path / "b.zip", changed))
    assert ("prompts", "room001/prompt.txt: was changed (1 of 4 files)") in differing(found)
    found = mvdiffusion_eval.verify(with_hashes(artifact, tmp_path / "c.zip", changed))
    said = "room001: the prompts in manifest.json are not those of the folder"
    assert differing(found) == [("prompts", said)]


def test_missing_and_additional_members(artifact: Path, tmp_path: Path) -> None:
    lost = mvdiffusion_eval.verify(with_members(artifact, tmp_path / "b.zip", {VIEW: None}))
    assert ("members", f"{VIEW}: is missing (1 of 39 files)") in differing(lost)
    assert ("images", "room002/5.png: is missing (1 of 32 files)") in differing(lost)
    one, two = "images/room002/8.png", "images/room003/notes.txt"
    more = with_members(artifact, tmp_path / "c.zip", {one: members(artifact)[VIEW], two: b""})
    said = f"{one}: is not in the manifest (2 such members)"
    assert ("members", said) in differing(mvdiffusion_eval.verify(more))


def test_a_folder_with_a_view_or_a_sample_more(place: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(place / "made", tmp_path / "made")
    (folder / "manifest.json").unlink()
    settings = ScoreSettings(consistency_resolution=toy.SIZE)
    content = mvdiffusion_eval.score(folder, settings=settings, protocols=["controls"])
    write_json(tmp_path / "s.json", content)
    mvdiffusion_eval.pack(tmp_path / "s.json", folder, tmp_path / "a.zip")
    shutil.copytree(folder / "room000", folder / "room009")
    found = mvdiffusion_eval.verify(tmp_path / "a.zip", folder)
    assert differing(found) == [("images", "room009/0.png: is not in the manifest (9 such files)")]
    shutil.rmtree(folder / "room009")
    shutil.copy(folder / "room001/0.png", folder / "room001/8.png")
    ((part, what),) = differing(mvdiffusion_eval.verify(tmp_path / "a.zip", folder))
    assert part == "images"
    assert "room001/8.png: is one view more than the 8 views" in what
    assert sorted(path.name for path in folder.iterdir()) == [f"room00{i}" for i in range(4)]


def raised(content: dict[str, Any]) -> None:
    """Three decibels more for every sample, with the mean that follows from them."""
    one = content["metrics"]["cross_view_psnr"]
    one["value"] += 3
    one["values"] = [value + 3 for value in one["values"]]


def slightly_raised(content: dict[str, Any]) -> None:
    one = content["metrics"]["cross_view_ssim"]
    one["value"] += 4e-6
    one["values"] = [value + 4e-6 for value in one["values"]]


def invented(content: dict[str, Any]) -> None:
    content["metrics"]["cross_view_beauty"] = content["metrics"]["cross_view_psnr"]


def left_out(content: dict[str, Any]) -> None:
    del content["metrics"]["cross_view_psnr_worst"]


def other_pairs(content: dict[str, Any]) -> None:
    content["pairs"][2]["psnr_db"] += 1


def other_weights(content: dict[str, Any]) -> None:
    content["extractors"]["inception-v3 (01234567)"] = {"weights_sha256": "01234567" * 8}


def fewer_faults(content: dict[str, Any]) -> None:
    content["faults"]["repeated"] = 5


def other_measure(content: dict[str, Any]) -> None:
    content["protocols"]["controls"]["is"] = "FID as published."


def other_size(content: dict[str, Any]) -> None:
    content["protocols"]["controls"]["metrics"]["gradient_energy"]["size"] = [512, 512]


def other_task(content: dict[str, Any]) -> None:
    content["task"] = "outpaint"


NUMBER = r"[\d.e-]+"
EDITS: dict[Callable, str] = {
    raised: f"cross_view_psnr: value is recorded as ({NUMBER}), but scored again as ({NUMBER}) "
    r"\(and 4 more differences\)",
    slightly_raised: f"cross_view_ssim: value is recorded as {NUMBER}, but scored again as",
    invented: "cross_view_beauty: is recorded as .*, but its protocol measures no such number",
    left_out: "cross_view_psnr_worst: is .*, but the score file lacks it",
    other_pairs: "pairs.2.psnr_db is recorded as .*, but scored again as",
    fewer_faults: "faults.repeated is recorded as 5, but found as 0",
    other_weights: "manifest.json names other weights of extractors than scores.json",
    other_measure: "controls.is is recorded as 'FID as published.', but is ",
    other_size: "controls.metrics.gradient_energy.size.0 is recorded as 512, but is 32",
    other_task: "the task is 'panorama' in manifest.json, but 'outpaint' in scores.json",
}


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_an_edited_score_with_its_seal_made_again(
    edit: Callable, artifact: Path, tmp_path: Path
) -> None:
    found = mvdiffusion_eval.verify(with_score(artifact, tmp_path / "b.zip", edit))
    texts = "\n".join(what for _, what in differing(found))
    assert re.search(EDITS[edit], texts), texts
    if edit is raised:
        stated, again = map(float, re.search(EDITS[edit], texts).groups())
        assert stated - again == pytest.approx(3)


def test_an_edited_score_file(artifact: Path, tmp_path: Path) -> None:
    content = json.loads(members(artifact)["scores.json"])
    raised(content)
    changed = {"scores.json": dumped(content)}
    found = mvdiffusion_eval.verify(with_hashes(artifact, tmp_path / "b.zip", changed))
    ((part, what),) = differing(found)
    assert part == "scores"
    assert what.startswith("scores.json: was changed after it was written")


def test_metadata_that_repeat_other_values(artifact: Path, tmp_path: Path) -> None:
    content = json.loads(members(artifact)["croissant.json"])
    content["recordSet"][0]["data"][1]["samples/cross_view_psnr"] += 3
    changed = {"croissant.json": dumped(content)}
    found = mvdiffusion_eval.verify(with_hashes(artifact, tmp_path / "b.zip", changed))
    ((part, what),) = differing(found)
    assert part == "croissant"
    assert what.startswith("croissant.json: samples.1.samples/cross_view_psnr is ")


def test_another_command_is_named(artifact: Path, tmp_path: Path) -> None:
    """Whoever reads that all agrees may run it."""
    manifest = json.loads(members(artifact)["manifest.json"])
    for changed in (
        {"command": "rm -r images"},
        {"arguments": manifest["arguments"] | {"samples": ["room001"]}},
    ):
        text = {"manifest.json": dumped(manifest | changed)}
        found = mvdiffusion_eval.verify(with_members(artifact, tmp_path / "b.zip", text))
        ((part, what),) = differing(found)
        assert (part, what[:18]) == ("command", "manifest.json says")


def test_warnings_come_again_after_they_were_deleted(tmp_path: Path) -> None:
    real = toy.write_folder(tmp_path / "real", "real", toy.real_samples(3))
    made = shutil.copytree(real, tmp_path / "made")
    settings = ScoreSettings(consistency_resolution=toy.SIZE)
    content = mvdiffusion_eval.score(made, real, settings=settings, protocols=["controls"])
    assert [w for w in content["warnings"] if "copies of images in the reference" in w]
    write_json(tmp_path / "s.json", sealed(content | {"warnings": []}))
    mvdiffusion_eval.pack(tmp_path / "s.json", made, tmp_path / "a.zip", images=True)
    found = mvdiffusion_eval.verify(tmp_path / "a.zip", reference=real)
    said = [f.what for f in found.of("note") if f.part == "warnings"]
    assert any("24 of 24 images in images are byte-for-byte copies" in what for what in said)


def test_changed_weights(
    place: Path, extractors: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an extractor whose record was written anew, too."""
    folder, artifact = place / "made", tmp_path / "a.zip"
    settings = ScoreSettings(inception_splits=2, protocols=("paper-pano",))
    content = mvdiffusion_eval.score(folder, extractors=extractors, settings=settings)
    write_json(tmp_path / "s.json", content)
    mvdiffusion_eval.pack(tmp_path / "s.json", folder, artifact)
    theirs = {path.name: shutil.copytree(path, tmp_path / path.name) for path in extractors}
    found = mvdiffusion_eval.verify(artifact, folder, extractors=list(theirs.values()))
    assert (found.of("differs"), found.of("unverified")) == ([], [])

    weights = theirs["classifier"] / "weights.safetensors"
    state = load_file(weights)
    state["head.bias"] = state["head.bias"] + 1e-3
    save_file(state, weights)
    found = mvdiffusion_eval.verify(artifact, folder, extractors=list(theirs.values()))
    ((part, what),) = differing(found)
    assert (part, what.split(": ")[0]) == ("weights", str(weights))
    record = json.loads((theirs["classifier"] / "extractor.json").read_text())
    new = sha256_file(weights)
    write_json(theirs["classifier"] / "extractor.json", record | {"weights_sha256": new})
    found = mvdiffusion_eval.verify(artifact, folder, extractors=list(theirs.values()))
    ((part, what),) = differing(found)
    assert part == "weights"
    name = str(load_trained(extractors[0]).identity)
    old = record["weights_sha256"]
    assert what == f"{name}: the SHA-256 of the weights here is {new}, but {old} is recorded"
    told = [f.what for f in found.of("unverified")]
    assert any(said.startswith("inception_score: needs ") for said in told)

    found = mvdiffusion_eval.verify(artifact, folder)
    assert found.agrees
    told = [f.what for f in found.of("unverified") if f.part == "weights"]
    assert told[0] == f"{name}: is a trained extractor; give its folder (--extractor)"


def test_the_first_of_two_extractors_stays_the_first(
    place: Path, extractors: list[Path], tmp_path: Path
) -> None:
    """Its numbers have no extractor in their names; a score file sorts the extractors."""
    other = shutil.copytree(extractors[0], tmp_path / "another")
    state = load_file(other / "weights.safetensors")
    state["head.weight"] = 2 * state["head.weight"]
    save_file(state, other / "weights.safetensors")
    record = json.loads((other / "extractor.json").read_text())
    new = {"name": "another", "weights_sha256": sha256_file(other / "weights.safetensors")}
    write_json(other / "extractor.json", record | new)
    settings = ScoreSettings(inception_splits=2, protocols=("paper-pano",))
    networks = [extractors[0], other]
    content = mvdiffusion_eval.score(place / "made", extractors=networks, settings=settings)
    assert set(content["metrics"]) == {"inception_score", "inception_score_another"}
    write_json(tmp_path / "s.json", content)
    mvdiffusion_eval.pack(tmp_path / "s.json", place / "made", tmp_path / "a.zip")
    found = mvdiffusion_eval.verify(
        tmp_path / "a.zip", place / "made", extractors=[other, extractors[0]]
    )
    assert (found.of("differs"), found.of("unverified")) == ([], [])


def test_other_versions_of_protocols_are_told(
    place: Path, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = dict(protocols())
    newer["controls"] = dataclasses.replace(
        newer["controls"], version=2, changelog=("gray is weighted",)
    )
    del newer["consistency-images"]
    monkeypatch.setattr("mvdiffusion_eval.artifacts.rescoring.protocols", lambda: newer)
    found = mvdiffusion_eval.verify(artifact)
    assert found.agrees
    assert {finding.what for finding in found.of("unverified")} == {
        "gradient_energy, other_scene_psnr: needs version 1 of the protocol, but 2 is installed "
        "(gray is weighted)",
        "cross_view_ssim, cross_view_ssim_closing: needs a protocol that is not installed here",
    }


def test_other_code_and_packages_are_noted(artifact: Path, tmp_path: Path) -> None:
    manifest = json.loads(members(artifact)["manifest.json"])
    manifest["code"] |= {"sha256": "0" * 64, "version": "0.0.1"}
    manifest["packages"]["numpy"] = "1.0"
    changed = {"manifest.json": dumped(manifest)}
    found = mvdiffusion_eval.verify(
        with_members(artifact, tmp_path / "b.zip", changed), rescored=False
    )
    assert found.agrees
    notes = [finding.what for finding in found.of("note")]
    assert notes[0].startswith("packed by other code (version 0.0.1, commit ")
    assert notes[1].startswith(
        f"scored with other versions of packages: numpy 1.0 (here {np.__version__})"
    )


def linked(path: Path) -> bytes:
    member = zipfile.ZipInfo("images/link.png")
    member.create_system, member.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr(member, "/etc/passwd")
    return path.read_bytes()


def huge(path: Path) -> bytes:
    """A member of a few bytes whose header declares a terabyte, in both places."""
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr("images/huge.png", bytes(8))
        place = opened.getinfo("images/huge.png").header_offset
    text = bytearray(path.read_bytes())
    central = text.rindex(b"PK\x01\x02")
    text[place + 22 : place + 26] = text[central + 24 : central + 28] = struct.pack("<I", 2**32 - 2)
    return bytes(text)


def with_json(name: str, change: Callable[[str], str]) -> Callable[[Path], bytes]:
    def make(path: Path) -> bytes:
        text = change(members(path)[name].decode()).encode()
        return with_members(path, path.with_name("c.zip"), {name: text}).read_bytes()

    return make


def extended(name: str) -> Callable[[Path], bytes]:
    return lambda path: write(path, {**members(path), name: b"x"}).read_bytes()


HOSTILE: dict[str, Callable[[Path], bytes]] = {
    "not a whole .zip": lambda path: path.read_bytes()[:-300],
    r"'\.\./evil\.txt' leads out of the folder": extended("../evil.txt"),
    r"'/tmp/evil\.txt' has an absolute path": extended("/tmp/evil.txt"),
    "'images/link.png' is a link or a device": linked,
    "would grow to more than 268,435,456 bytes": huge,
    "manifest.json: not valid JSON .NaN is not": with_json(
        "manifest.json", lambda text: text.replace('"format": 1', '"format": NaN')
    ),
    "manifest.json: not valid JSON .a key is there twice": with_json(
        "manifest.json", lambda text: text.replace('"format": 1', '"format": 1, "format": 1')
    ),
    "manifest.json: key 'format' is 9": with_json(
        "manifest.json", lambda text: text.replace('"format": 1', '"format": 9')
    ),
    r"names the file '\.\./0.png', which leads out": with_json(
        "manifest.json", lambda text: text.replace('"room000/0.png"', '"../0.png"')
    ),
    "manifest.json: not valid JSON .*recursion": with_json(
        "manifest.json", lambda text: "[" * 100_000
    ),
    "manifest.json: is missing": lambda path: write(path, {"a.txt": b"a"}).read_bytes(),
}


@pytest.mark.parametrize("message", HOSTILE)
def test_what_is_no_artifact(
    message: str, artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends with one line and exit code 2, and nothing is written anywhere."""
    path = Path(shutil.copy(artifact, tmp_path / "b.zip"))
    path.write_bytes(HOSTILE[message](path))
    (tmp_path / "c.zip").unlink(missing_ok=True)
    with pytest.raises(InputError, match=message):
        mvdiffusion_eval.verify(path)
    with pytest.raises(SystemExit) as end:
        main(["verify", str(path)])
    assert end.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert [found.name for found in tmp_path.iterdir()] == ["b.zip"]


def test_score_files_with_parts_of_other_kinds_differ(artifact: Path, tmp_path: Path) -> None:
    def spoil(content: dict[str, Any]) -> None:
        content["images"]["yaw_deg"] = "east"
        content["protocols"] = ["controls"]

    found = mvdiffusion_eval.verify(with_score(artifact, tmp_path / "b.zip", spoil))
    assert not found.agrees


def test_exit_codes(artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy.run("verify", str(artifact), "--no-rescore")
    assert "a.zip agrees as far as it could be checked" in capsys.readouterr().out
    toy.run("verify", str(artifact), "--no-rescore", "--json")
    found = json.loads(capsys.readouterr().out)
    assert (found["agrees"], found["complete"]) == (True, False)
    changed = with_score(artifact, tmp_path / "b.zip", raised)
    with pytest.raises(SystemExit) as end:
        main(["verify", str(changed)])
    assert end.value.code == 1
    assert "b.zip is not what it says: see what differs." in capsys.readouterr().out


def test_equal_means_up_to_a_millionth() -> None:
    near = {"a": [20.0 * (1 + 0.9 * TOLERANCE), 0.9 * TOLERANCE, None, True, "x"]}
    exact = {"a": [20.0, 0, None, True, "x"]}
    assert list(numeric_differences(exact, near)) == []
    for place, value in ((0, 20.00003), (1, 2e-6), (2, 0.0), (3, 1), (4, "y")):
        other = {"a": [*exact["a"]]}
        other["a"][place] = value
        assert [name for name, *_ in numeric_differences(exact, other)] == [f"a.{place}"]
    assert [name for name, *_ in numeric_differences({"a": [1]}, {"a": [1, 2]})] == ["a"]
    assert Verification((Finding("a", "note", ""),)).agrees
