"""What makes a training step cheaper computes the same."""

import copy

import pytest
import torch
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention, AttnProcessor
from tiny_training import places, settings
from torch import nn

from mvdiffusion.settings import parse
from mvdiffusion.training.diffusion import freeze, load_parts
from mvdiffusion.training.lean import feed_forward
from mvdiffusion.training.lean.attention import attend, plain_attention
from mvdiffusion.training.lean.once import ComputedOnce
from mvdiffusion.training.lean.weights import RoundedWeights
from mvdiffusion.training.settings import ViewStage
from mvdiffusion.training.stage1 import view_task


def formula(query, key, value):
    """softmax(q k / sqrt(d)) v for each sample and head, term by term."""
    scores = torch.einsum("nlhd,nmhd->nhlm", query, key) / query.shape[-1] ** 0.5
    shares = (scores - scores.amax(-1, keepdim=True)).exp()
    shares = shares / shares.sum(-1, keepdim=True)
    return torch.einsum("nhlm,nmhd->nlhd", shares, value).flatten(2)


def tokens(dtype, *lengths, grad=True):
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, length, 3, 4) for length in lengths]
    values = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return [value.to(dtype).requires_grad_(grad) for value in values]


def test_plain_attention_is_the_formula_and_so_is_its_gradient():
    inputs = tokens(torch.float64, 5, 7, 7)
    torch.testing.assert_close(attend(*inputs), formula(*inputs))
    assert torch.autograd.gradcheck(attend, inputs)


def test_plain_attention_in_half_precision_is_within_its_rounding():
    inputs = tokens(torch.bfloat16, 5, 7, 7)
    exact = [value.detach().double().requires_grad_() for value in inputs]
    for values, function in ((inputs, attend), (exact, formula)):
        function(*values).square().sum().backward()
    for value, reference in zip(inputs, exact, strict=True):
        error = (value.grad.double() - reference.grad).norm() / reference.grad.norm()
        assert error < 0.01  # 2^-8 is a rounding
    with torch.autocast("cpu", dtype=torch.bfloat16):  # scores stay exact
        query, key, value = (x.detach() for x in inputs)
        read = attend(query * 16, key * 16, value)
    expected = formula(*(x.detach().double() for x in (query * 16, key * 16, value)))
    torch.testing.assert_close(read.double(), expected, rtol=0.02, atol=0.02)


def test_gradients_that_nobody_wants_are_not_computed():
    query, key, value = tokens(torch.float64, 5, 7, 7)
    key, value = key.detach(), value.detach()
    attend(query, key, value).sum().backward()
    assert query.grad is not None
    assert key.grad is None
    assert value.grad is None


def test_only_usual_attention_runs_plainly_and_afterwards_none():
    torch.manual_seed(0)
    own = Attention(8, heads=2, dim_head=4, processor=AttnProcessor())
    with_norm = Attention(8, heads=2, dim_head=4, norm_num_groups=2)
    to_text, within = Attention(8, 6, heads=2, dim_head=4), Attention(8, heads=2, dim_head=4)
    layers = nn.ModuleList([own, with_norm, to_text, within])
    before = [layer.processor for layer in layers]
    cells, text = torch.randn(2, 5, 8), torch.randn(2, 3, 6)
    expected = to_text(cells, encoder_hidden_states=text), within(cells)
    with plain_attention(layers):
        changed = [now.processor is not old for now, old in zip(layers, before, strict=True)]
        found = to_text(cells, encoder_hidden_states=text), within(cells)
    assert changed == [False, False, True, True]
    assert [layer.processor for layer in layers] == before
    torch.testing.assert_close(found, expected)
    with plain_attention(layers), pytest.raises(ValueError, match="no mask"):
        within(cells, attention_mask=torch.zeros(2, 1, 5))


@pytest.mark.skipif(feed_forward._library() is None, reason="no C++ compiler")
@pytest.mark.parametrize("width", [5, 32, 100])
def test_the_fused_gate_and_its_gradient_are_the_formula_rounded_once(width):
    generator = torch.Generator().manual_seed(0)
    given = torch.randn(3, 50, 2 * width, generator=generator) * 3
    given[0, 0, width:] = torch.linspace(-100, 100, width)
    given, above = given.bfloat16().requires_grad_(), torch.randn(3, 50, width).bfloat16()
    exact = given.detach().double().requires_grad_()
    hidden, gates = exact.chunk(2, -1)
    expected = hidden * gates * (1 + torch.erf(gates / 2**0.5)) / 2
    found = feed_forward.gate(given)
    (gradient,) = torch.autograd.grad(found, given, above)
    (reference,) = torch.autograd.grad(expected, exact, above.double())
    for value, formula in ((found, expected.detach()), (gradient, reference)):
        torch.testing.assert_close(value.double(), formula, rtol=2**-8, atol=2e-5)
    with torch.no_grad():
        given[1] = torch.nan
    assert feed_forward.gate(given)[1].isnan().all()


@pytest.mark.skipif(feed_forward._library() is None, reason="no C++ compiler")
def test_gates_are_fused_in_half_precision_alone_and_afterwards_not(monkeypatch):
    torch.manual_seed(0)
    layer, x = FeedForward(8, activation_fn="geglu"), torch.randn(2, 5, 8)
    expected, calls, gate = layer(x), [], feed_forward.gate
    monkeypatch.setattr(feed_forward, "gate", lambda given: calls.append(given) or gate(given))
    with feed_forward.fused_gates(layer):
        assert torch.equal(layer(x), expected)
        assert not calls
        with torch.autocast("cpu", dtype=torch.bfloat16):
            torch.testing.assert_close(layer(x).float(), expected, rtol=0.05, atol=0.01)
    assert len(calls) == 1
    assert "forward" not in vars(layer.net[0])
    monkeypatch.setenv("MVDIFFUSION_KERNELS", "off")
    with feed_forward.fused_gates(layer):
        assert "forward" not in vars(layer.net[0])


def test_rounded_weights_compute_the_same_bit_for_bit_and_come_back():
    torch.manual_seed(0)
    frozen = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Flatten(), nn.Linear(8, 8))
    freeze(frozen)
    model = nn.Sequential(frozen, nn.Linear(8, 2))
    exact, x = copy.deepcopy(model.state_dict()), torch.randn(4, 3, 3, 3)

    def step():
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model(x)
        out.float().square().sum().backward()
        return out, model[1].weight.grad

    expected = step()
    with RoundedWeights(model, torch.bfloat16):
        kinds = [value.dtype for value in model.parameters()]
        found = step()
    half, full = torch.bfloat16, torch.float32
    assert kinds == [half, half, full, full, half, half, full, full]
    assert all(map(torch.equal, found, expected))
    assert all(torch.equal(exact[name], value) for name, value in model.state_dict().items())
    with pytest.raises(KeyError), RoundedWeights(model, torch.bfloat16):
        raise KeyError
    assert model[0][0].weight.dtype == full
    with RoundedWeights(model, None):
        assert model[0][0].weight.dtype == full


def test_rows_are_computed_once_and_never_beyond_the_limit():
    calls = []

    def double(rows):
        calls.append(rows.clone())
        return rows.float() * 2

    rows = torch.arange(36).reshape(12, 3)
    once = ComputedOnce(double, limit_bytes=9 * 12)  # nine results of three floats
    twice = torch.cat([rows[:10], rows[:10]])
    assert torch.equal(once(twice), twice.float() * 2)
    assert [len(call) for call in calls] == [8, 8]  # the second one is filled up
    assert torch.equal(once(rows[:9]), rows[:9].float() * 2)
    assert len(calls) == 2
    assert torch.equal(once(rows[8:]), rows[8:].float() * 2)  # the tenth was not kept
    assert torch.equal(calls[2][:3], rows[9:])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        once(rows[:1])
    assert len(calls) == 4  # another precision is another result


def test_what_a_mask_hides_is_the_same_whatever_was_there():
    """A mask makes negative zeros of negative values."""
    calls = []
    once = ComputedOnce(lambda rows: calls.append(rows) or rows + 1)
    once(torch.tensor([[0.5, -0.5]]) * 0)
    assert torch.equal(once(torch.tensor([[-0.5, 0.5]]) * 0), torch.ones(1, 2))
    assert len(calls) == 1


def test_a_result_does_not_depend_on_what_else_is_computed(rooms, base_folder):
    task = view_task(parse(ViewStage, settings()), places(rooms, rooms), load_parts(base_folder))
    freeze(task.text_encoder, task.vae)
    batches = [task.examples[position] for position in range(12)]
    pixels, ids = (torch.cat([b[key] for b in batches]) for key in ("pixels", "input_ids"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for rows, function in ((pixels, task._encode), (ids, task.text.encode)):
            together = ComputedOnce(function)(rows)
            resumed = ComputedOnce(function)
            apart = torch.cat([resumed(rows[start : start + 5]) for start in (5, 0, 10)])
            apart = torch.cat([apart[5:10], apart[:5], apart[10:]])
            assert torch.equal(together, apart)


@pytest.mark.parametrize("trains", [True, False])
def test_captions_are_embedded_once_if_the_text_encoder_does_not_train(rooms, base_folder, trains):
    parts = load_parts(base_folder)
    freeze(parts.vae)
    parts.text_encoder.requires_grad_(trains)
    task = view_task(parse(ViewStage, settings()), places(rooms, rooms), parts)
    batch, calls = task.examples[0], []
    task.text_encoder.register_forward_hook(lambda *_: calls.append(1))
    losses = [task(batch) for _ in range(2)]
    assert len(calls) == (2 if trains else 1)
    assert torch.equal(*losses)
    losses[1].backward()
    gradients = [value.grad for value in task.text_encoder.parameters()]
    assert any(value is not None for value in gradients) == trains
