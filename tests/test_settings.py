"""Wrong settings of any command: one sentence that names the key, and exit code 2."""

import json
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from pydantic import Field

import mvdiffusion.cli
from mvdiffusion.generation.settings import GenerationSettings
from mvdiffusion.records import InputError
from mvdiffusion.settings import (
    Count,
    Device,
    Positive,
    choose_precision,
    parse,
    read_settings,
    settings,
    torch_device,
)
from mvdiffusion.training.settings import ViewSettings
from mvdiffusion_eval import cli as evaluation

VIEWS = {"image_size": 64}
EXPORT = ("data", "export", "--split", "test", "--data", "none", "--output", "out")
SPLIT = (
    "generate", "split", "--method", "independent", "--model", "none", "--data", "none",
    "--output", "out", "--settings-sha256", "0",
)  # fmt: skip


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Run a command that must fail, in an empty folder that must stay empty; return its words."""
    monkeypatch.chdir(tmp_path)

    def run_command(program: Any, *words: str) -> str:
        monkeypatch.setattr("sys.argv", ["command", *words])
        with pytest.raises(SystemExit) as end:
            program.main()
        assert end.value.code == 2
        assert list(tmp_path.iterdir()) == []
        return capsys.readouterr().err

    return run_command


@pytest.mark.parametrize("command", [EXPORT, SPLIT])
@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"data": {"image_size": "64"}},
         "setting 'data.image_size' is '64'; expected a whole number, at least 8 and at most "),
        ({"data": {**VIEWS, "num_views": 0}},
         "setting 'data.num_views' is 0; expected a whole number, at least 2 and at most 360."),
        ({"data": VIEWS, "num_samples": "2"},
         "setting 'num_samples' is '2'; expected a whole number, at least 1, or null."),
        ({"data": {"image_size": -4}},
         "setting 'data.image_size' is -4; expected a whole number, at least 8 and at most 16384."),
        ({"data": {**VIEWS, "fov_deg": 200}},
         "setting 'data.fov_deg' is 200; expected a number, above 0 and below 180."),
        ({"data": {**VIEWS, "prompt_prefix": 3}},
         "setting 'data.prompt_prefix' is 3; expected text."),
        ({"data": VIEWS, "num_sample": 1},
         "unknown setting 'num_sample'; did you mean 'num_samples'?"),
        ({"data": {**VIEWS, "imge": 1}}, "unknown setting 'data.imge'; known: fov_deg, image_size"),
        ({"data": {}}, "setting 'data.image_size' is missing; add it."),
    ],
)  # fmt: skip
def test_wrong_settings_of_exports_and_generation(
    run: Any, command: tuple[str, ...], values: dict[str, Any], sentence: str
) -> None:
    printed = run(mvdiffusion.cli, *command, "--settings", json.dumps(values))
    assert printed.count("\n") == 1
    assert printed.startswith(f"mvdiffusion: {sentence}")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"protocols": [1]}, "setting 'protocols.0' is 1; expected text."),
        ({"protocols": "controls"},
         "setting 'protocols' is 'controls'; expected a list of values, each text."),
        ({"consistency_resolution": 0},
         "setting 'consistency_resolution' is 0; expected a whole number, at least 8 and at most "
         "16384, or null."),
        ({"consistency_resolution": -5}, "setting 'consistency_resolution' is -5; expected "),
        ({"jackknife_groups": -3},
         "setting 'jackknife_groups' is -3; expected a whole number, at least 2."),
        ({"protocol": []}, "unknown setting 'protocol'; did you mean 'protocols'?"),
    ],
)  # fmt: skip
def test_wrong_settings_of_scores(run: Any, values: dict[str, Any], sentence: str) -> None:
    words = ("score", "--generated", "none", "--output", "score.json")
    printed = run(evaluation, *words, "--settings", json.dumps(values))
    assert printed.count("\n") == 1
    assert printed.startswith(f"mvdiffusion-eval: {sentence}")


@settings
class Inner:
    """Some numbers."""

    steps: Count
    rate: Positive = 1.0


@settings
class Outer:
    """A section and a list."""

    inner: Inner
    sizes: Annotated[tuple[Count, ...], Field(min_length=2)] = (1, 2)


def test_values_of_json_and_yaml_become_those_of_the_class(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("inner: {steps: 3, rate: 2}\nsizes: [4, 5, 6]\n")
    parsed = parse(Outer, read_settings(str(tmp_path / "a.yaml")))
    assert parsed == Outer(Inner(3, 2.0), (4, 5, 6))
    assert type(parsed.inner.rate) is float


def test_numbers_that_no_machine_can_take_are_refused() -> None:
    with pytest.raises(InputError, match=r"'image_size' is 1000000000; expected .* at most 16384"):
        parse(ViewSettings, {"image_size": 10**9})
    with pytest.raises(InputError, match=r"'seed' is 4294967296; expected .* at most 4294967295"):
        parse(GenerationSettings, {"seed": 2**32})
    for name in ("DDIMPipeline", "__name__", "nothing"):
        with pytest.raises(
            InputError, match=f"'scheduler' is '{name}'; expected one of 'DDIMScheduler'"
        ):
            parse(GenerationSettings, {"scheduler": name})


def test_all_mistakes_are_told_at_once_and_five_at_most() -> None:
    with pytest.raises(InputError) as caught:
        parse(Outer, {"inner": {"steps": True, "rate": float("nan")}, "sizes": [1]}, "outer")
    assert str(caught.value).splitlines() == [
        "setting 'outer.inner.steps' is True; expected a whole number, at least 1.",
        "setting 'outer.inner.rate' is nan; expected a number, above 0.",
        "setting 'outer.sizes' is [1]; expected a list of values, each a whole number, at least 1,"
        " with at least 2 entries.",
    ]
    with pytest.raises(InputError) as caught:
        parse(Outer, {"inner": {"steps": 1}, **{f"unknown{n}": n for n in range(9)}})
    assert len(str(caught.value).splitlines()) == 5


@pytest.mark.parametrize("values", [3, None, [], "text"])
def test_what_is_no_mapping_is_refused(values: object) -> None:
    with pytest.raises(InputError, match="expected a mapping of keys to values"):
        parse(Outer, values)


def test_a_class_built_in_python_checks_too() -> None:
    with pytest.raises(InputError, match="setting 'steps' is 0; expected a whole number"):
        Inner(0)
    with pytest.raises(InputError, match="unknown setting 'step'; did you mean 'steps'"):
        Inner(1, step=1)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        Inner(1).steps = 2  # type: ignore[misc]


@pytest.mark.parametrize("text", [
    "{", "- 1", "nowhere.yaml", "a: [", "3", "", "a: &a [*a]", "2020-01-01: 3",
    '{"a": ' * 20_000, '{"seed": ' + "9" * 5000 + "}",
])  # fmt: skip
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    source = text if text == "nowhere.yaml" else str(path)
    with pytest.raises(InputError, match=r"settings.*expected (JSON text|a mapping)"):
        read_settings(source)


@pytest.mark.parametrize(
    ("capability", "expected"),
    [("AVX512", "bfloat16"), ("AVX2", "float32"), ("DEFAULT", "float32"), ("SVE256", "float32")],
)
def test_the_precision_auto_is_one_in_which_the_processor_has_instructions(
    capability: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    assert choose_precision("auto", "cpu") == expected
    assert choose_precision("bfloat16", "cpu") == "bfloat16"


def test_processors_that_pytorch_says_to_compute_in_bfloat16_do_under_auto() -> None:
    native = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    chosen = choose_precision("auto", "cpu")
    assert native or chosen == "float32", "emulated: convolutions take 20 to 50 times as long"


@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_old_gpus_compute_in_float32_under_auto(
    native: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: native)
    assert choose_precision("auto", "cuda") == expected


@settings
class Computing:
    device: Device = "auto"


def test_devices_have_one_name_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of a configuration, of commands, and of scores; what is not there is refused."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    for name, expected in {
        "auto": "cuda",
        "cpu": "cpu",
        "cuda": "cuda",
        "cuda:1": "cuda:1",
    }.items():
        assert parse(Computing, {"device": name}).device == name
        assert torch_device(name) == expected
    with pytest.raises(InputError, match=r"is 'cuda:2'; expected 'cuda:1' at most, as .* 2 GPUs"):
        torch_device("cuda:2")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert torch_device("auto") == "cpu"
    for name in ("cuda", "cuda:1"):
        with pytest.raises(InputError, match="expected 'auto' or 'cpu', as PyTorch finds no GPU"):
            torch_device(name)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert torch_device("mps") == "mps"
    assert choose_precision("auto", "mps") == "float32"
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(InputError, match="'mps'; expected another, as PyTorch finds none"):
        torch_device("mps")
    for wrong in ("gpu", "cuda:", "cuda:x", "tpu:0"):
        expected = "expected one of 'auto', 'cpu', 'cuda', 'cuda:0', 'cuda:1'"
        with pytest.raises(InputError, match=expected):
            parse(Computing, {"device": wrong})
        with pytest.raises(InputError, match=expected):
            torch_device(wrong)
