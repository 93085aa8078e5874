"""Every form in which people have a checkpoint is read, or refused in one short sentence."""

import zipfile
from pathlib import Path

import pytest
import torch
from released_checkpoints import released, write
from safetensors.torch import save_file
from torch import Tensor

from mvdiffusion.conversion.checkpoint_files import read_checkpoint
from mvdiffusion.conversion.convert import convert_checkpoint
from mvdiffusion.conversion.weights import sort_weights
from mvdiffusion.records import InputError

SHORT = 500  # characters of a sentence; the state dict's 761 keys once made 47,000


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return dict(released("pano_unet", 100))


def test_a_state_dict_by_itself_and_safetensors_are_read(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    write(tmp_path / "pano.ckpt", state)
    torch.save(state, tmp_path / "bare.ckpt")
    torch.save(state, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    contiguous = {key: value.contiguous() for key, value in state.items()}
    save_file(contiguous, tmp_path / "pano.safetensors")
    save_file(contiguous, tmp_path / "renamed.ckpt")
    for path in tmp_path.iterdir():
        found = read_checkpoint(path)
        assert set(found) == set(state), path.name
        assert all(torch.equal(found[key], value) for key, value in state.items()), path.name


def test_what_is_no_checkpoint_is_named(state: dict[str, Tensor], tmp_path: Path) -> None:
    whole = write(tmp_path / "pano.ckpt", state).read_bytes()
    save_file({"w": torch.ones(1000)}, tmp_path / "w")
    tensors = (tmp_path / "w").read_bytes()
    for content, sentence in (
        (b"", "is empty; download it again"),
        (whole[: len(whole) // 2], "not a whole PyTorch checkpoint"),
        (tensors[:2000], "not a whole safetensors file"),
        (b"<!DOCTYPE html><html>quota exceeded</html>", "a web page instead of the file"),
        (b"\n<html>", "a web page instead of the file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS pointer"),
        (b'{"model": 1}', "is a JSON file"),
        (bytes(range(256)), "not a whole PyTorch checkpoint"),
    ):
        path = tmp_path / "file.ckpt"
        path.write_bytes(content)
        with pytest.raises(InputError, match=sentence) as caught:
            read_checkpoint(path)
        assert str(caught.value).startswith(str(path))
        assert len(str(caught.value)) < SHORT
        assert "\n" not in str(caught.value)


def test_other_dictionaries_are_named_by_a_few_of_their_keys(tmp_path: Path) -> None:
    content = {f"key{number}": {"w": torch.ones(1)} for number in range(761)}
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match=r"found: key0, .*, key4 and 756 more") as caught:
        read_checkpoint(tmp_path / "other.ckpt")
    assert len(str(caught.value)) < SHORT


def test_a_compressed_bomb_is_refused_by_its_size(tmp_path: Path) -> None:
    """Three GB of data.pkl in 3 MB once took all memory; here 30 MB in 30 kB."""
    for number, (name, kind) in enumerate(
        (("data.pkl", zipfile.ZIP_DEFLATED), ("byteorder", zipfile.ZIP_DEFLATED))
    ):
        path = tmp_path / f"{number}.ckpt"
        with zipfile.ZipFile(path, "w") as archive:
            if name != "data.pkl":
                archive.writestr("a/data.pkl", b"\x80\x02}.")
            with archive.open(zipfile.ZipInfo("a/" + name), "w") as entry:
                entry._compressor = zipfile._get_compressor(kind)
                entry._zinfo.compress_type = kind
                for _ in range(30):
                    entry.write(bytes(2**20))
        assert path.stat().st_size < 2**16
        with pytest.raises(InputError, match=f"{name} is compressed"):
            read_checkpoint(path)


def test_a_data_pkl_of_unlikely_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mvdiffusion.conversion.pickle_reader.MAX_PICKLE_BYTES", 100)
    path = write(tmp_path / "pano.ckpt", {"w": torch.ones(1)})
    with pytest.raises(InputError, match=r"bytes in .*data.pkl, 100 expected"):
        read_checkpoint(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(
    base: Path, tmp_path: Path, value: float, vocabulary: int
) -> None:
    state = dict(released("pano_unet", vocabulary))
    names = [key for key in state if key.startswith(("mv_base_model.unet", "vae.decoder"))][-5:]
    for name in names:
        state[name] = state[name].clone().float()
        state[name].view(-1)[-1] = value
    path = write(tmp_path / "pano.ckpt", state)
    with pytest.raises(InputError, match=r"pano.ckpt: NaN or infinite numbers in 5 of") as caught:
        convert_checkpoint(path, str(base), tmp_path / "model")
    assert names[0] in str(caught.value)
    assert "and 2 more" in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_a_buffer_that_is_not_used_may_be_infinite() -> None:
    state = {"best_loss": torch.tensor(float("inf")), "mv_base_model.unet.a": torch.ones(1)}
    assert sort_weights(state).unknown == ["best_loss"]


def test_weights_too_large_for_the_precision_are_named(
    base: Path, tmp_path: Path, vocabulary: int
) -> None:
    state = dict(released("pano_unet", vocabulary))
    state["mv_base_model.unet.conv_in.bias"] = torch.full((32,), 1e6)
    path = write(tmp_path / "pano.ckpt", state)
    with pytest.raises(InputError, match=r"--dtype float16: 1 weights .* \(unet.unet.conv_in.bias"):
        convert_checkpoint(path, str(base), tmp_path / "model", dtype="float16")
    convert_checkpoint(path, str(base), tmp_path / "model", dtype="bfloat16")
