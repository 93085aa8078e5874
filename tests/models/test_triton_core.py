"""The GPU's kernels of attention between views, against PyTorch's operations in float64.

Where there is no GPU, Triton's interpreter runs them, line by line on the CPU, which tells whether
they compute the right thing; compiling them for GPUs tells whether these would take them.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mvdiffusion.models.correspondence_geometry import frequencies
from mvdiffusion.models.kernels.angles import turns_of_exponents
from mvdiffusion.models.kernels.reference import TorchCore
from mvdiffusion.models.kernels.tokens import Norm, Tokens

triton = pytest.importorskip("triton", reason="Triton is not installed: GPUs use PyTorch")
pytest.importorskip("triton.experimental.gluon")  # which expects the language as it is
from triton.runtime.interpreter import InterpretedFunction  # noqa: E402
from triton.runtime.jit import JITFunction  # noqa: E402

from mvdiffusion.models.kernels import triton_kernels  # noqa: E402
from mvdiffusion.models.kernels.triton_core import TritonCore  # noqa: E402

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SCALE = 32**-0.5
KINDS = ["released", "paper", "released depth", "paper depth"]


@pytest.fixture
def core() -> Iterator[Any]:
    """The kernels on the GPU if there is one, else in the interpreter."""
    with pytest.MonkeyPatch.context() as patch:
        if DEVICE.type == "cpu":
            for module in (triton.language, triton.language.standard, triton_kernels):
                for name, value in list(vars(module).items()):
                    if isinstance(value, JITFunction):
                        patch.setattr(module, name, InterpretedFunction(value.fn))
        yield TritonCore()


def case(
    kind: str, samples: int = 2, cells: int = 2, heads: int = 1, tokens: int = 0
) -> dict[str, Any]:
    """Inputs of `Core.read` as each kind of attention has them, in float32."""
    seed = torch.Generator().manual_seed(0)
    depth, released = "depth" in kind, "released" in kind
    channels, number, rows = 32 * heads, tokens or (3 if depth and released else 18), 12

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=seed)

    valid = torch.rand(cells, number, generator=seed) < 0.7
    weight = torch.rand(cells, number, 4, generator=seed) * valid[..., None]
    counted = None
    if not released:  # masked, and for one cell nothing counts
        counted = valid & (torch.arange(cells) != 1)[:, None]
    elif depth:  # one target fewer than others have
        counted = (torch.arange(number) < number - 1).expand(cells, -1).contiguous()
    cosine = None
    if depth and released:
        cosine = (torch.arange(cells * number) % 2 == 1).unflatten(0, (cells, number))
    index = torch.randint(rows, (cells, number, 4), generator=seed).int()
    place = Tokens(index, weight, normal(cells, number, 2) * 3, valid, counted, cosine)
    norm = Norm(normal(channels) + 1, normal(channels), 1e-5) if released else None
    inputs = {
        "query": normal(samples, cells, heads, channels),
        "features": normal(samples, rows, channels) * 2 + 0.5,
        "tokens": place,
        "bands": frequencies(channels * (2 if cosine is not None else 1), kind.split()[0]),
        "norm": norm,
        "scale": SCALE,
    }
    return moved(inputs, device=DEVICE)


def moved(inputs: dict[str, Any], **to: Any) -> dict[str, Any]:
    """Bring floating-point inputs to a precision, or all to a device; places stay exact."""

    def move(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(**to)
        if isinstance(value, Norm):
            return Norm(value.weight.to(**to), value.bias.to(**to), value.eps)
        if isinstance(value, Tokens) and "device" in to:
            return Tokens(*(None if v is None else v.to(**to) for v in vars(value).values()))
        return value

    return {key: move(value) if key != "bands" or "device" in to else value
            for key, value in inputs.items()}  # fmt: skip


def formula(inputs: dict[str, Any]) -> Tensor:
    """What is to be read, token by token."""
    given = SimpleNamespace(**inputs)
    place, exact = given.tokens, given.query.dtype
    x, y = (place.displacement[..., None] * given.bands).to(exact).unbind(-2)
    if place.cosine is None:
        code = torch.cat([x.sin(), y.sin(), x.cos(), y.cos()], -1)
    else:
        both = torch.cat([x, y], -1)
        code = torch.where(place.cosine[..., None], both.cos(), both.sin())
    tokens = torch.where(place.valid[..., None], code, 0.0)
    for corner in range(4):
        share = place.weight[..., corner, None].to(exact)
        tokens = tokens + share * given.features[:, place.index[..., corner].long()]
    if given.norm is not None:
        weight, bias, eps = given.norm.weight, given.norm.bias, given.norm.eps
        tokens = F.layer_norm(tokens, tokens.shape[-1:], weight, bias, eps)
    mask = None if place.counted is None else place.counted[:, None]
    read = F.scaled_dot_product_attention(
        given.query, tokens, tokens, mask if mask is None else mask | ~mask.any(-1, True),
        scale=given.scale,
    )  # fmt: skip
    return read if mask is None else read * mask.any(-1)[..., None]


def with_gradients(inputs: dict[str, Any]) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The formula in float64: its result, a gradient of that, and gradients of its inputs."""
    exact = moved(inputs, dtype=torch.float64)
    norm = exact["norm"]
    leaves = [
        exact["query"],
        exact["features"],
        *(() if norm is None else (norm.weight, norm.bias)),
    ]
    for leaf in leaves:
        leaf.requires_grad_()
    read = formula(exact)
    above = torch.randn(read.shape, generator=torch.Generator().manual_seed(1)).to(read)
    return read.detach(), above, list(torch.autograd.grad((read * above).sum(), leaves))


def backward(core: Any, inputs: dict[str, Any], above: Tensor) -> list[Tensor]:
    summed = torch.zeros(inputs["features"].shape, device=DEVICE)
    gradient = above.to(inputs["query"].dtype)
    of_query, of_norm, read = core.read_backward(gradient, **inputs, summed=summed)
    assert torch.equal(read, core.read(**inputs))
    return [of_query, summed, *(() if inputs["norm"] is None else of_norm)]


def error(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact).norm() / exact.norm())


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_and_its_gradients(core: Any, kind: str) -> None:
    inputs = case(kind)
    read, above, gradients = with_gradients(inputs)
    assert error(core.read(**inputs), read) < 1e-6
    for found, exact in zip(backward(core, inputs, above), gradients, strict=True):
        assert error(found, exact) < 1e-6
    if inputs["tokens"].counted is not None and "paper" in kind:
        assert (core.read(**inputs)[:, 1] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["released", "paper"])
def test_heads_samples_and_blocks_of_tokens(core: Any, kind: str) -> None:
    """Two heads, of three samples the last without a partner, and tokens of two blocks."""
    inputs = case(kind, samples=3, cells=2, heads=2, tokens=70)
    read, above, gradients = with_gradients(inputs)
    assert error(core.read(**inputs), read) < 1e-6
    for found, exact in zip(backward(core, inputs, above), gradients, strict=True):
        assert error(found, exact) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_errs_no_more_than_pytorch_does(core: Any, dtype: torch.dtype) -> None:
    if dtype == torch.bfloat16 and DEVICE.type == "cpu":
        pytest.skip("Triton's interpreter multiplies matrices of bfloat16 as integers")
    inputs = moved(case("released", samples=1), dtype=dtype)
    read, above, gradients = with_gradients(inputs)
    usual = TorchCore()
    found = core.read(**inputs)
    assert found.dtype == dtype
    assert error(found, read) < 1.5 * error(usual.read(**inputs), read)
    errors = zip(
        backward(core, inputs, above), backward(usual, inputs, above), gradients, strict=True
    )
    for ours, theirs, exact in errors:
        assert error(ours, exact) < 1.5 * error(theirs, exact)


def test_angles_of_any_size_have_exact_sines() -> None:
    """As integers: 2^k / 2π, by a quotient of π to a hundred digits from elsewhere."""
    pi = Fraction(
        "3.1415926535897932384626433832795028841971693993751058209749445923078164062862089986280348"
        "253421170679"
    )
    turns = turns_of_exponents(None)
    for exponent in (100, 127, 150, 200, 254):
        exact = Fraction(2) ** (exponent - 150) / (2 * pi)
        expected = int((exact - int(exact)) * 2**64)
        assert abs(int(turns[exponent]) % 2**64 - expected) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernels_compile_for_gpus_that_are_not_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capability: int, dtype: torch.dtype
) -> None:
    """As they are launched, but for the launch; they must fit into a processor."""
    target = triton.backends.compiler.GPUTarget("cuda", capability, 32)
    driver = SimpleNamespace(
        get_current_target=lambda: target,
        get_current_device=lambda: capability,
        get_current_stream=lambda _: 0,
    )
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(triton.runtime.driver, "_active", driver)
    made, run = {}, JITFunction.run

    def compile_only(self: Any, *given: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        made[self.fn.__name__] = run(self, *given, grid=grid, warmup=True, **options)

    monkeypatch.setattr(JITFunction, "run", compile_only)
    inputs = moved(case("released", heads=10), device=torch.device("cpu"))
    inputs = moved(inputs, dtype=dtype)
    kernels = TritonCore()
    kernels.read(**inputs)
    summed = torch.zeros(inputs["features"].shape)
    kernels.read_backward(torch.zeros_like(inputs["query"]), **inputs, summed=summed)
    assert set(made) == {"read", "multiply", "differentiate", "collect"}
    for name, kernel in made.items():
        assert kernel.asm["cubin"], name
        assert kernel.metadata.shared < 100_000, name  # bytes of a block, on an A100 or later
    # Half precision is multiplied by tensor cores.
    assert ("mma.sync" in made["read"].asm["ptx"]) == (dtype == torch.bfloat16)


@pytest.mark.skipif(DEVICE.type == "cpu", reason="needs a GPU")
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_keeps_no_tokens_and_gives_the_same_every_time(core: Any, kind: str) -> None:
    inputs = case(kind, cells=4096, heads=10)
    tokens = inputs["features"].element_size() * inputs["tokens"].valid.numel() * 320 * 2
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    read = core.read(**inputs)
    taken = torch.cuda.max_memory_allocated() - before
    assert taken < read.numel() * read.element_size() + tokens // 20
    assert torch.equal(read, core.read(**inputs))
    first, second = (backward(core, inputs, torch.ones_like(read)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
