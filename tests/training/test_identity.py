"""What decides weights: nothing that was trained is lost over anything else."""

from pathlib import Path

import pytest
from tiny_training import places, settings

import mvdiffusion
from mvdiffusion import code_closure
from mvdiffusion.outputs import differences
from mvdiffusion.records import InputError
from mvdiffusion.training.runs import Run
from mvdiffusion.training.settings import deciding_settings
from mvdiffusion.training.stage1 import train_stage1

PACKAGE = Path(mvdiffusion.__file__).parent
STAGE2 = "mvdiffusion.training.stage2"


def identity(tmp_path, **changes):
    run = Run("panorama_stage2", settings(**changes), None, places(tmp_path, tmp_path), STAGE2)
    return run.identity


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"device": "cuda"}, []),
        ({"training__log_every": 50}, []),
        ({"training__num_workers": 8}, []),
        ({"training__checkpoint_every": 1}, []),
        ({"training__validate_every": 1}, []),
        ({"training__gradient_accumulation_steps": 2}, []),
        ({"training__steps": 9}, ["steps"]),  # which checkpoints leave out
        ({"seed": 6}, ["settings.seed"]),
        ({"training__batch_size": 8}, ["settings.training.batch_size"]),
        ({"training__mixed_precision": "bf16"}, ["settings.training.mixed_precision"]),
        ({"variant": "paper"}, ["settings.variant"]),
    ],
)
def test_settings_count_only_if_they_decide_weights(tmp_path, change, differs):
    assert list(differences(identity(tmp_path), identity(tmp_path, **change))) == differs


@pytest.mark.parametrize(
    ("module", "line", "counts"),
    [
        ("preparation/custom/importing.py", "EDITED = 1", False),  # no training imports it
        ("conversion/convert.py", "EDITED = 1", False),
        ("training/loop.py", "# a comment", False),
        ("training/loop.py", "EDITED = 1", True),
        ("models/attention.py", "EDITED = 1", True),
    ],
)
def test_code_counts_only_if_the_training_runs_it(tmp_path, monkeypatch, module, line, counts):
    before, edited, read = identity(tmp_path)["code"], PACKAGE / module, Path.read_bytes
    assert edited.is_file()

    def read_bytes(path):
        return read(path) + (f"\n{line}\n".encode() if path == edited else b"")

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    for function in (code_closure.code_sha256, code_closure._code_of):
        function.cache_clear()
    after = identity(tmp_path)["code"]
    monkeypatch.undo()
    for function in (code_closure.code_sha256, code_closure._code_of):
        function.cache_clear()
    assert (after != before) is counts


def test_settings_without_a_training_are_kept():
    assert deciding_settings({"seed": 1, "device": "cpu"}) == {"seed": 1}


@pytest.mark.long
def test_finished_model_is_kept(rooms, base_folder, tmp_path, capsys):
    def train(overwrite=False, **changes):
        run = settings(training__steps=1, **changes)
        to = places(tmp_path, rooms, overwrite=overwrite)
        train_stage1("panorama", run, base_folder, to)

    weights, output = Path("unet/diffusion_pytorch_model.safetensors"), tmp_path / "output"
    train()
    (output / "notes.txt").write_text("mine")
    made = (output / weights).read_bytes()
    time = (output / weights).stat().st_mtime_ns
    train(training__log_every=1, training__num_workers=1)
    assert "output: already made with these settings" in capsys.readouterr().err
    (output / "model_index.json").unlink()  # by Snakemake, which has not seen its job's end
    train()
    assert "model_index.json: was deleted, and is brought back" in capsys.readouterr().err
    assert (output / "model_index.json").is_file()
    with pytest.raises(
        InputError, match=r"output: was made with other settings \(settings\.seed\)"
    ):
        train(seed=6)
    assert (output / weights).stat().st_mtime_ns == time
    train(seed=6, overwrite=True)
    assert (output / weights).read_bytes() != made
    assert (tmp_path / "output.old" / weights).read_bytes() == made
    assert (tmp_path / "output.old/notes.txt").read_text() == "mine"
    damage = (output / weights).read_bytes()[:-1]
    (output / weights).write_bytes(damage)
    train(seed=6)
    assert "has changed since it was written" in capsys.readouterr().err
    assert (tmp_path / "output.old2" / weights).read_bytes() == damage
