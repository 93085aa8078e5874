"""Attention to tokens of one's own, of every kernel, against the formula written out in float64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mvdiffusion.models import token_attention
from mvdiffusion.models.kernels import choice, library
from mvdiffusion.models.kernels.compiled_core import SOURCE, CompiledCore
from mvdiffusion.models.kernels.reference import TorchCore
from mvdiffusion.models.kernels.tokens import Core, Norm, Tokens
from mvdiffusion.models.token_attention import attend_to_tokens
from mvdiffusion.records import InputError, provenance

SAMPLES, CELLS, TOKENS, HEADS, ROWS, CHANNELS = 2, 37, 7, 3, 11, 96
KINDS = ("panorama released", "panorama paper", "depth released", "depth paper")


def cores() -> list[Any]:
    compiled = choice._compiled()
    none = pytest.mark.skipif(compiled is None, reason="no C++ compiler that makes the kernel")
    return [
        pytest.param(TorchCore(), id="PyTorch"),
        pytest.param(compiled, id="C++", marks=none),
    ]


CORES = pytest.mark.parametrize("core", cores())


@pytest.fixture(autouse=True)
def _chosen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "core" in request.fixturenames:
        chosen = request.getfixturevalue("core")
        monkeypatch.setattr(token_attention, "core_for", lambda _: chosen)


def make_tokens(kind: str, channels: int = CHANNELS) -> tuple[Tokens, Tensor]:
    """Tokens of places anywhere, some of them not valid; and the bands of their codes."""
    random, pairs = torch.Generator().manual_seed(0), kind == "depth released"
    valid = torch.rand(CELLS, TOKENS, generator=random) < 0.7
    valid[1] = False
    weight = torch.rand(CELLS, TOKENS, 4, generator=random)
    weight[:, 0, 1:] = 0  # on a cell
    # As far as the highest frequencies of the released code take them.
    displacement = torch.randn(CELLS, TOKENS, 2, generator=random) * 3
    tokens = Tokens(
        torch.randint(ROWS, (CELLS, TOKENS, 4), generator=random, dtype=torch.int32),
        weight * valid[..., None],
        displacement,
        valid,
        valid if "paper" in kind else None,
        torch.rand(CELLS, TOKENS, generator=random) < 0.5 if pairs else None,
    )
    return tokens, 2.0 ** torch.arange(channels // 2 if pairs else channels // 4)


def make(kind: str, dtype: torch.dtype) -> tuple[dict[str, Tensor], Tokens, Tensor, bool]:
    random = torch.Generator().manual_seed(1)
    shapes = {
        "query": (SAMPLES, CELLS, HEADS, 32),
        "features": (SAMPLES, ROWS, CHANNELS),
        "to_k": (HEADS, 32, CHANNELS),
        "to_v": (HEADS, 32, CHANNELS),
        "weight": (CHANNELS,),
        "bias": (CHANNELS,),
    }
    values = {
        name: torch.randn(shape, generator=random, dtype=torch.float64)
        for name, shape in shapes.items()
    }
    values["to_k"] *= CHANNELS**-0.5
    values = {name: value.to(dtype).requires_grad_() for name, value in values.items()}
    return values, *make_tokens(kind), "released" in kind


def attend(values: dict[str, Tensor], tokens: Tokens, bands: Tensor, normed: bool) -> Tensor:
    norm = Norm(values["weight"], values["bias"], 1e-5) if normed else None
    given = (values["query"], values["features"], tokens, bands, norm)
    return attend_to_tokens(*given, values["to_k"], values["to_v"])


def plain(values: dict[str, Tensor], tokens: Tokens, bands: Tensor, normed: bool) -> Tensor:
    """Keys and values of every token; sines of angles that are rounded to float32, in float64."""
    values = {name: value.double() for name, value in values.items()}
    angles = (tokens.displacement[..., None] * bands).double().numpy()
    sine, cosine = (torch.from_numpy(f(angles)).flatten(-2) for f in (np.sin, np.cos))
    if tokens.cosine is None:
        code = torch.cat([sine, cosine], -1)
    else:
        code = torch.where(tokens.cosine[..., None], cosine, sine)
    sampled = (values["features"][:, tokens.index.long()] * tokens.weight[..., None]).sum(-2)
    made = sampled + code * tokens.valid[..., None]
    if normed:
        apart = made - made.mean(-1, keepdim=True)
        deviation = (apart.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        made = apart / deviation * values["weight"] + values["bias"]
    keys, heads_values = (
        torch.einsum("rmnc,hdc->rmhnd", made, values[name]) for name in ("to_k", "to_v")
    )
    scores = torch.einsum("rmhd,rmhnd->rmhn", values["query"], keys) / 32**0.5
    shares = scores.exp()
    if tokens.counted is not None:
        shares = shares * tokens.counted[:, None]
    shares = shares / shares.sum(-1, keepdim=True).clamp(min=1e-300)
    return torch.einsum("rmhn,rmhnd->rmhd", shares, heads_values)


def gradients(result: Tensor, values: dict[str, Tensor]) -> list[Tensor | None]:
    random = torch.Generator().manual_seed(2)
    weights = torch.randn(result.shape, generator=random, dtype=torch.float64)
    return list(
        torch.autograd.grad(
            (result.double() * weights).sum(), list(values.values()), allow_unused=True
        )
    )


def close(found: Tensor | None, expected: Tensor | None, tolerance: float) -> None:
    if expected is None:
        assert found is None
        return
    assert found is not None
    apart = (found.double() - expected.double()).abs().max()
    assert apart <= tolerance * expected.abs().max()


@CORES
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-5), (torch.float64, 1e-6), (torch.bfloat16, 0.05)],
)
@pytest.mark.parametrize("block", [2**25, 2**17])
def test_results_and_gradients_are_those_of_the_formula(
    core: Core,
    kind: str,
    dtype: torch.dtype,
    tolerance: float,
    block: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(token_attention, "BLOCK_BYTES", block)
    values, *given = make(kind, dtype)
    found, expected = attend(values, *given), plain(values, *given)
    close(found, expected, tolerance)
    for one, other in zip(gradients(found, values), gradients(expected, values), strict=True):
        close(one, other, 3 * tolerance)


@CORES
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_that_of_float32_rounded(
    core: Core, kind: str, dtype: torch.dtype
) -> None:
    """On the CPU: the rounding of inputs and of results is all that it adds."""
    values, *given = make(kind, dtype)
    exact = {name: value.detach().float().requires_grad_() for name, value in values.items()}
    found, expected = attend(values, *given), attend(exact, *given)
    assert found.dtype == dtype
    assert torch.equal(found, expected.to(dtype))
    # Gradients from the same gradient above, which is rounded, too.
    above = torch.randn_like(found)
    names = [name for name in values if given[2] or name not in ("weight", "bias")]
    mine = torch.autograd.grad(found, [values[name] for name in names], above)
    other = torch.autograd.grad(expected, [exact[name] for name in names], above.float())
    for one, reference in zip(mine, other, strict=True):
        assert torch.equal(one, reference.to(dtype))


@CORES
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_differences(core: Core, kind: str) -> None:
    values, tokens, bands, normed = make(kind, torch.float64)
    few = tokens.part(0, 3)
    small = {**values, "query": values["query"].detach()[:, :3].requires_grad_()}
    if not normed:
        small = {name: small[name] for name in ("query", "features", "to_k", "to_v")}
    names = list(small)

    def function(*given: Tensor) -> Tensor:
        return attend({**values, **dict(zip(names, given, strict=True))}, few, bands, normed)

    # Along random directions: there are thousands of values.
    assert torch.autograd.gradcheck(function, tuple(small.values()), fast_mode=True)


@CORES
@pytest.mark.parametrize("kind", KINDS)
def test_bits_depend_on_no_thread_and_no_run(core: Core, kind: str) -> None:
    values, *given = make(kind, torch.float32)
    threads, found = torch.get_num_threads(), []
    try:
        for number in (1, 2, 3, 3):
            torch.set_num_threads(number)
            result = attend(values, *given)
            found.append([result, *gradients(result, values)])
    finally:
        torch.set_num_threads(threads)
    # PyTorch's products of matrices may round differently with other numbers of threads.
    for first, second in zip(found[2], found[3], strict=True):
        assert (first is None and second is None) or torch.equal(first, second)
    query, features = (torch.randn(1, CELLS, HEADS, CHANNELS), values["features"].detach()[:1])
    reads = []
    for number in (1, 3):
        torch.set_num_threads(number)
        summed = torch.zeros_like(features)
        norm = Norm(values["weight"].detach(), values["bias"].detach(), 1e-5)
        options = (features, given[0], given[1], norm, 1.0)
        read = core.read(query, *options)
        reads.append([read, *core.read_backward(read, query, *options, summed), summed])
    torch.set_num_threads(threads)
    if not isinstance(core, TorchCore):
        assert all(map(torch.equal, *reads))


@CORES
def test_cells_without_any_token_read_nothing(core: Core) -> None:
    values, tokens, *given = make("panorama paper", torch.float32)
    found = attend(values, replace(tokens, counted=torch.zeros_like(tokens.valid)), *given)
    assert not found.any()
    assert all(each is None or each.isfinite().all() for each in gradients(found, values))


@CORES
def test_large_scores_are_no_nan(core: Core) -> None:
    values, *given = make("panorama released", torch.float32)
    with torch.no_grad():
        values["query"].mul_(1e4)
    assert attend(values, *given).isfinite().all()


@CORES
def test_the_operation_keeps_the_rules_of_pytorch(core: Core) -> None:
    """Shapes that a compiler is told of, and gradients, are those of real runs."""
    values, tokens, bands, _ = make("panorama released", torch.float32)
    places = (tokens.index, tokens.weight, tokens.displacement, tokens.valid)
    norm = (values["weight"], values["bias"], 1e-5)
    names = ("query", "features", "to_k", "to_v")
    given = (*(values[name] for name in names), *norm, *places, None, None, bands)
    utilities = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(token_attention._attend, given, test_utils=utilities)


@pytest.mark.skipif(choice._compiled() is None, reason="no C++ compiler that makes the kernel")
def test_sines_of_any_angle_are_exact() -> None:
    """Released frequencies reach 2^79, above which a float's sine is a matter of its last bit."""
    core: Any = choice._compiled()
    channels = 320
    tokens, bands = make_tokens("panorama released", channels)
    tokens = replace(tokens, weight=torch.zeros_like(tokens.weight)).part(2, CELLS)
    one = Tokens(
        tokens.index[:, :1],
        tokens.weight[:, :1],
        tokens.displacement[:, :1],
        torch.ones(len(tokens.index), 1, dtype=torch.bool),
    )
    query = torch.zeros(1, len(one.index), 1, channels)
    found = core.read(query, torch.zeros(1, ROWS, channels), one, bands, None, 1.0)[0, :, 0]
    angles = (one.displacement[:, 0, :, None] * bands).double().numpy()
    expected = np.concatenate([np.sin(angles), np.cos(angles)], 1).reshape(len(found), -1)
    np.testing.assert_allclose(found, expected, atol=2e-7)


def test_the_switch_turns_kernels_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choice.SWITCH, "off")
    assert isinstance(choice.core_of("cpu", torch.float32), TorchCore)
    assert provenance()["attention_kernel"] == "PyTorch"
    monkeypatch.delenv(choice.SWITCH)
    if choice._compiled() is not None and not torch.cuda.is_available():
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            assert choice.core_of("cpu", dtype).name == choice.chosen()
        assert provenance()["attention_kernel"] == "C++"


def test_without_a_compiler_pytorch_computes_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no_compiler"))
    choice._compiled.cache_clear()
    try:
        for _ in range(2):
            assert isinstance(choice.core_of("cpu", torch.float32), TorchCore)
    finally:
        choice._compiled.cache_clear()
    (line,) = caplog.messages
    assert "no_compiler" in line
    assert "\n" not in line


@pytest.mark.slow
def test_a_kernel_is_compiled_once_for_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    if choice._compiled() is None:
        pytest.skip("no C++ compiler that makes the kernel")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = library.build(SOURCE)
    made = first.stat().st_mtime_ns
    assert library.build(SOURCE) == first
    assert first.stat().st_mtime_ns == made
    assert [each.name for each in first.parent.iterdir()] == [first.name]


def fail_to_compile(caplog: pytest.LogCaptureFixture) -> str:
    choice._compiled.cache_clear()
    caplog.clear()
    try:
        assert choice._compiled() is None
    finally:
        choice._compiled.cache_clear()
    (line,) = caplog.messages
    assert "\n" not in line
    return line


@pytest.fixture
def cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A compiled kernel in a folder of its own."""
    core: Any = choice._compiled()
    if core is None:
        pytest.skip("no C++ compiler that makes the kernel")
    folder = tmp_path / "mvdiffusion"
    folder.mkdir(mode=0o700)
    copied = folder / library.build(SOURCE).name
    copy(core._library._name, copied)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return copied


@pytest.mark.parametrize("part", ["library", "folder"])
def test_a_kernel_that_others_could_have_written_is_not_loaded(
    part: str, cached: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written = cached if part == "library" else cached.parent
    written.chmod(0o777)
    line = fail_to_compile(caplog)
    assert f"{written} can be written to by other users" in line
    assert "XDG_CACHE_HOME" in line
    written.chmod(0o700)
    CompiledCore()


def test_a_kernel_that_was_cut_short_is_compiled_again(
    cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, call = cached.read_bytes(), library._call
    cached.write_bytes(whole[:100])

    def compile_fast(command: list[str]) -> bytes:
        if "-o" not in command:
            return call(command)
        Path(command[command.index("-o") + 1]).write_bytes(whole)
        return b""

    monkeypatch.setattr(library, "_call", compile_fast)
    CompiledCore()
    assert cached.read_bytes() == whole


def test_what_a_compiler_says_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """As Apple's says that it knows no OpenMP; the variable may hold a launcher and options."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    script = 'case "$*" in *--version*) ;; *) echo "error: no -fopenmp" >&2; exit 1;; esac'
    compiler = tmp_path / "compiler"
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", f"env {compiler} -m64")
    assert "error: no -fopenmp" in fail_to_compile(caplog)


def test_a_user_without_a_home_does_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if choice._compiled() is None:
        pytest.skip("no C++ compiler that makes the kernel")

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert "home directory" in fail_to_compile(caplog)


def test_the_switch_has_one_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choice.SWITCH, "0")
    with pytest.raises(InputError, match="Expected MVDIFFUSION_KERNELS 'off', or not set, got '0'"):
        choice.core_of("cpu", torch.float32)


@CORES
def test_numbers_of_another_type_are_read_as_what_they_are(core: Core) -> None:
    """As they come out of geometry under another default type of PyTorch."""
    values, tokens, bands, _ = make("panorama released", torch.float32)
    if isinstance(core, TorchCore):
        pytest.skip("types are PyTorch's own affair")
    query, features = torch.randn(SAMPLES, CELLS, HEADS, CHANNELS), values["features"].detach()
    double = replace(
        tokens,
        index=tokens.index.long(),
        weight=tokens.weight.double(),
        displacement=tokens.displacement.double(),
    )
    found = core.read(query, features, double, bands.double(), None, 1.0)
    assert torch.equal(found, core.read(query, features, tokens, bands, None, 1.0))
