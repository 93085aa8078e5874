"""The loop on a task small enough to be computed by hand."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import mvdiffusion.training.sittings
from mvdiffusion.outputs import RECORD
from mvdiffusion.records import InputError
from mvdiffusion.training.checkpoints import CheckpointFolder
from mvdiffusion.training.loop import MetricsLog, MicroBatches, learning_rate, train
from mvdiffusion.training.settings import TrainingSettings


class Regression(nn.Module):
    """Fit one linear map; the gradient depends on every example."""

    class Examples:
        def __getitem__(self, position):
            generator = torch.Generator().manual_seed(position)
            x = torch.randn(1, 3, generator=generator)
            return {"x": x, "y": x @ torch.tensor([[1.0], [-2.0], [0.5]])}

    def __init__(self, scale=1.0):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.examples, self.scale = nn.Linear(3, 1), self.Examples(), scale
        self.history = []

    def forward(self, batch):
        if self.training:
            self.history.append(self.linear.weight.detach().clone())
        return self.scale * (self.linear(batch["x"]) - batch["y"]).square().mean()

    def validate(self):
        return torch.full((3, 4, 4), self.linear.weight.mean().item()), {"weight": 1.5}


def options(**changes):
    values = {"steps": 12, "batch_size": 4, "learning_rate": 0.05, "num_workers": 0}
    return TrainingSettings(**(values | {"checkpoint_every": 5, "log_every": 4} | changes))


def fit(folder, settings, task=None, overwrite=False, **identity):
    task = task or Regression()
    train(
        task,
        settings,
        name="toy",
        identity={"steps": settings.steps, **identity},
        checkpoints=folder / "checkpoints",
        log_dir=folder / "log",
        device="cpu",
        overwrite=overwrite,
    )
    return task


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_learning_rate_is_the_closed_form():
    settings = options(steps=110, warmup_steps=10, learning_rate=0.2, final_learning_rate=0.1)
    assert learning_rate(0, settings) == pytest.approx(0.02)
    assert learning_rate(9, settings) == pytest.approx(0.2)
    assert learning_rate(10, settings) == pytest.approx(0.2)
    assert learning_rate(35, settings) == pytest.approx(0.15 + 0.05 * math.cos(math.pi / 4))
    assert learning_rate(60, settings) == pytest.approx(0.15)
    assert learning_rate(110, settings) == pytest.approx(0.1)


def test_loss_decreases_and_everything_is_recorded(tmp_path):
    fit(tmp_path, options(steps=100, validate_every=50, ema_decay=0.9))
    metrics = lines(tmp_path / "log/metrics.jsonl")
    assert metrics[-1]["loss"] < 0.05 * metrics[0]["loss"]
    assert [line["step"] for line in metrics] == list(range(4, 101, 4))
    assert metrics[1]["lr"] == pytest.approx(learning_rate(7, options(steps=100)))
    assert lines(tmp_path / "log/validation.jsonl") == [
        {"step": 50, "weight": 1.5},
        {"step": 100, "weight": 1.5},
    ]
    assert len(list((tmp_path / "log/validation").glob("*.png"))) == 2
    assert list((tmp_path / "log").rglob("events.out.tfevents.*"))


def test_logged_loss_is_the_mean_since_the_last_line(tmp_path):
    settings = options(steps=4, log_every=4, learning_rate=1e-12, weight_decay=0.0)
    fit(tmp_path, settings)
    task = Regression().eval()
    losses = [task(MicroBatches(task.examples, settings)[step]).item() for step in range(4)]
    assert lines(tmp_path / "log/metrics.jsonl")[0]["loss"] == pytest.approx(sum(losses) / 4)


def test_first_step_is_adamw_on_the_clipped_gradient(tmp_path):
    settings = options(steps=1, max_grad_norm=0.01, ema_decay=0.9, weight_decay=0.1)
    task, reference = fit(tmp_path, settings), Regression()
    optimizer = torch.optim.AdamW(reference.parameters(), lr=0.05, weight_decay=0.1)
    reference(MicroBatches(reference.examples, settings)[0]).backward()
    assert nn.utils.clip_grad_norm_(reference.parameters(), 0.01) > 0.01
    optimizer.step()
    torch.testing.assert_close(task.state_dict(), reference.state_dict())


def test_a_part_with_a_rate_factor_follows_the_schedule_slowed(tmp_path):
    """Beside two of PyTorch's optimizers, one per part, at the rates of the formula."""

    class Shifted(Regression):
        def __init__(self):
            super().__init__()
            self.shift, self.rate_factors = nn.Linear(1, 1, bias=False), {"shift": 0.1}

        def forward(self, batch):
            ones = torch.ones_like(batch["y"])
            return (self.linear(batch["x"]) + self.shift(ones) - batch["y"]).square().mean()

    values = {"learning_rate": 0.05, "final_learning_rate": 0.01, "weight_decay": 0.1}
    settings = options(steps=6, ema_decay=0.0, max_grad_norm=0.5, **values)
    reference = Shifted()
    optimizers = {
        0.1: torch.optim.AdamW(reference.shift.parameters(), weight_decay=0.1),
        1.0: torch.optim.AdamW(reference.linear.parameters(), weight_decay=0.1),
    }
    for step in range(6):
        reference(MicroBatches(reference.examples, settings)[step]).backward()
        nn.utils.clip_grad_norm_(reference.parameters(), 0.5)
        rate = 0.01 + 0.04 * (1 + math.cos(math.pi * step / 6)) / 2
        for factor, optimizer in optimizers.items():
            optimizer.param_groups[0]["lr"] = factor * rate
            optimizer.step()
            optimizer.zero_grad()
    task = fit(tmp_path, settings, Shifted())
    torch.testing.assert_close(task.state_dict(), reference.state_dict())


def test_result_is_the_exponential_moving_average(tmp_path):
    settings = options(steps=6, ema_decay=0.25, log_every=1, checkpoint_every=1)
    task = fit(tmp_path, settings)
    path = sorted((tmp_path / "checkpoints").glob("*.pt"))[-1]
    last = torch.load(path, weights_only=True)["weights"]["linear.weight"]
    weights = [*task.history[1:], last]  # after each of the 6 steps
    average = weights[0]  # diffusers' warm-up: no averaging in the first step
    for step, weight in enumerate(weights[1:], start=1):
        decay = min(0.25, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(task.linear.weight.detach(), average)


@pytest.mark.parametrize("parts", [2, 4])
def test_gradient_accumulation_changes_nothing(tmp_path, parts):
    whole = fit(tmp_path / "whole", options())
    halves = fit(tmp_path / "halves", options(gradient_accumulation_steps=parts))
    torch.testing.assert_close(halves.state_dict(), whole.state_dict())
    assert lines(tmp_path / "halves/log/metrics.jsonl")[-1]["loss"] == pytest.approx(
        lines(tmp_path / "whole/log/metrics.jsonl")[-1]["loss"]
    )


def test_processes_share_the_micro_batch():
    settings, examples = options(batch_size=8, gradient_accumulation_steps=2), Regression.Examples()
    for step in range(3):
        whole = MicroBatches(examples, settings)[step]["x"]
        parts = [MicroBatches(examples, settings, 2, rank)[step]["x"] for rank in range(2)]
        assert torch.equal(torch.cat(parts), whole)
    with pytest.raises(InputError, match="cannot be divided between 3 processes"):
        MicroBatches(examples, settings, 3)


TWO_PROCESSES = """
import sys
from pathlib import Path
from test_loop import fit, options
fit(Path(sys.argv[1]), options(gradient_accumulation_steps=2))
"""


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(TWO_PROCESSES)
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(
        [*launch, str(script), str(tmp_path / "two")],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        check=True,
    )
    fit(tmp_path / "one", options(gradient_accumulation_steps=2))
    last = [sorted((tmp_path / name / "checkpoints").iterdir())[-1] for name in ("one", "two")]
    one, two = (torch.load(path, weights_only=True) for path in last)
    assert one["step"] == two["step"] == 12
    torch.testing.assert_close(two["weights"], one["weights"])
    torch.testing.assert_close(two["ema"], one["ema"])


def test_half_precision_needs_a_gpu(tmp_path):
    with pytest.raises(InputError, match="fp16 needs a CUDA device"):
        fit(tmp_path, options(mixed_precision="fp16"))


@pytest.mark.parametrize(("capability", "dtype"), [("AVX512", "bfloat16"), ("AVX2", "float32")])
def test_training_computes_in_the_precision_that_is_fast(tmp_path, monkeypatch, capability, dtype):
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    seen = set()

    class Watched(Regression):
        def forward(self, *batch):
            seen.add(torch.mm(torch.eye(2), torch.eye(2)).dtype)
            return super().forward(*batch)

    fit(tmp_path, options(mixed_precision="auto"), Watched())
    assert seen == {getattr(torch, dtype)}


class Killed(Exception):
    """Stands for the death of the process."""


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("dies_at", [3, 7, 11])
def test_interrupted_run_ends_with_the_same_bits(tmp_path, dies_at, workers):
    settings = options(num_workers=workers, gradient_accumulation_steps=2)
    whole = fit(tmp_path / "whole", options(gradient_accumulation_steps=2))
    task = Regression()

    def die(module, inputs):
        if len(module.history) == 2 * dies_at + 1:  # in the middle of an accumulated step
            raise Killed

    task.register_forward_pre_hook(die)
    with pytest.raises(Killed):
        fit(tmp_path / "killed", settings, task)
    resumed = fit(tmp_path / "killed", settings)
    assert len(resumed.history) == 2 * (12 - dies_at // 5 * 5)  # nothing finished is repeated
    for key, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value)
    for name in ("whole", "killed"):
        log = lines(tmp_path / name / "log/metrics.jsonl")
        assert [line["step"] for line in log] == [4, 8, 12]
    expected = [line["loss"] for line in lines(tmp_path / "whole/log/metrics.jsonl")]
    assert [line["loss"] for line in lines(tmp_path / "killed/log/metrics.jsonl")] == expected


def test_every_sitting_is_recorded(tmp_path, monkeypatch):
    """A sitting counts up to its last checkpoint; the times of all add up to the training's."""

    def commit(name):
        known = {"git_commit": name, "cpu": "abacus"}
        monkeypatch.setattr(mvdiffusion.training.sittings, "provenance", lambda: known)

    task = Regression()

    def die(module, inputs):
        if len(module.history) == 7:
            raise Killed

    task.register_forward_pre_hook(die)
    commit("first")
    with pytest.raises(Killed):
        fit(tmp_path, options(), task)
    commit("second")
    fit(tmp_path, options(log_every=1))
    sittings = lines(tmp_path / "log/sittings.jsonl")
    found = [(line["from_step"], line["step"], line["git_commit"]) for line in sittings]
    assert found == [(0, 5, "first"), (5, 12, "second")]
    assert all(line["cpu"] == "abacus" and line["threads"] >= 1 for line in sittings)
    total = lines(tmp_path / "log/metrics.jsonl")[-1]["seconds"]
    assert sum(line["seconds"] for line in sittings) == pytest.approx(total, abs=0.11)
    fit(tmp_path, options(), other=True, overwrite=True)
    assert len(lines(tmp_path / "log/sittings.jsonl")) == 1
    assert len(lines(tmp_path / "log/sittings.jsonl.old")) == 2


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.[jp]*")}


def test_another_identity_is_refused_and_moved_aside_on_request(tmp_path):
    fit(tmp_path, options(validate_every=6), seed=1)
    before = contents(tmp_path)
    assert {"metrics.jsonl", "step-00000010.pt", "00000006.png"} <= {path.name for path in before}
    assert fit(tmp_path, options(validate_every=6), seed=1).history == []
    with pytest.raises(InputError, match=r"checkpoints: was made with other settings \(seed\)"):
        fit(tmp_path, options(), seed=2)
    assert contents(tmp_path) == before
    assert len(fit(tmp_path, options(), seed=2, overwrite=True).history) == 12
    for path, content in before.items():
        folder, name, *rest = path.parts
        aside = [f"{folder}.old", name] if folder == "checkpoints" else [folder, f"{name}.old"]
        assert tmp_path.joinpath(*aside, *rest).read_bytes() == content


def test_foreign_files_are_no_checkpoints(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds other files \(thesis\.txt"):
        fit(tmp_path, options(), overwrite=True)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["thesis.txt"]


def test_run_continues_to_more_steps(tmp_path, capsys):
    """With a constant rate it is the longer run, bit for bit; else a line says that it isn't."""
    constant = {"learning_rate": 0.05, "final_learning_rate": 0.05}
    whole = fit(tmp_path / "whole", options(steps=12, **constant))
    fit(tmp_path / "run", options(steps=7, log_every=3, **constant))
    longer = fit(tmp_path / "run", options(steps=12, **constant))
    assert len(longer.history) == 5
    assert torch.equal(longer.linear.weight, whole.linear.weight)
    assert "will be of neither" not in capsys.readouterr().err
    fit(tmp_path / "cosine", options(steps=7))
    assert len(fit(tmp_path / "cosine", options(steps=12)).history) == 5
    assert "was begun for 7 steps" in capsys.readouterr().err


def test_loss_is_a_mean_when_the_interval_of_lines_changes(tmp_path):
    settings = {"learning_rate": 1e-12, "weight_decay": 0.0, "checkpoint_every": 1}
    fit(tmp_path / "whole", options(steps=8, log_every=1, **settings))
    task = Regression()

    def die(module, inputs):
        if len(module.history) == 5:
            raise Killed

    task.register_forward_pre_hook(die)
    with pytest.raises(Killed):
        fit(tmp_path / "run", options(steps=8, log_every=3, **settings), task)
    fit(tmp_path / "run", options(steps=8, log_every=4, **settings))
    losses = [line["loss"] for line in lines(tmp_path / "whole/log/metrics.jsonl")]
    expected = [sum(losses[:3]) / 3, sum(losses[3:]) / 5]  # killed after step 5
    found = [line["loss"] for line in lines(tmp_path / "run/log/metrics.jsonl")]
    assert found == pytest.approx(expected)


def test_run_of_fewer_steps_is_refused(tmp_path):
    fit(tmp_path, options())
    with pytest.raises(InputError, match=r"trained for 12 steps, more than training\.steps = 6"):
        fit(tmp_path, options(steps=6))
    assert len(fit(tmp_path, options(steps=6), overwrite=True).history) == 6
    assert len(list((tmp_path / "checkpoints.old").glob("step-*.pt"))) == 2


def test_unreadable_checkpoint_falls_back_to_the_one_before(tmp_path, capsys):
    whole = fit(tmp_path, options())
    newest = sorted((tmp_path / "checkpoints").glob("*.pt"))[-1]
    content = bytearray(newest.read_bytes())
    content[content.index(b"PK", 9) + 200] ^= 1  # a bit of a tensor, which torch does not check
    newest.write_bytes(content)
    resumed = fit(tmp_path, options())
    assert len(resumed.history) == 2  # from step 10 of 12
    assert torch.equal(resumed.linear.weight, whole.linear.weight)
    assert "is damaged (its hash is wrong); moved to" in capsys.readouterr().err
    assert newest.with_name(f"{newest.name}.old").is_file()


def test_validation_does_not_disturb_training(tmp_path):
    plain = fit(tmp_path / "plain", options())
    watched = fit(tmp_path / "watched", options(validate_every=1))
    assert torch.equal(plain.linear.weight, watched.linear.weight)


def test_diverged_loss_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"the loss is (inf|nan) at step 4; lower"):
        fit(tmp_path, options(), Regression(scale=float("inf")))


def test_error_of_a_loader_worker_is_one_line(tmp_path):
    class Broken:
        def __getitem__(self, position):
            raise InputError("room7.jpg: truncated")

    task = Regression()
    task.examples = Broken()
    with pytest.raises(InputError) as caught:
        fit(tmp_path, options(num_workers=1), task)
    assert str(caught.value) == "room7.jpg: truncated"


def test_full_disk_leaves_no_part_of_a_checkpoint(tmp_path, monkeypatch):
    def full(state, file):
        file.write(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")

    folder = CheckpointFolder(tmp_path / "c", {"steps": 1})
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match="disk is full"):
        folder.save(1, {})
    assert [path.name for path in (tmp_path / "c").iterdir()] == [RECORD]


def test_cut_line_of_a_log_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n{"step": 3, "lo')
    MetricsLog(path, 1).append({"step": 2, "loss": 0.5})
    assert lines(path) == [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 0.5}]
