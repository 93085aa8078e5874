"""The count of a training's memory, beside numbers of others, and the page that prints it."""

import json
import sys
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import training_memory  # noqa: E402

RECORD = json.loads((ROOT / "benchmarks/results/training_memory.json").read_text())


def test_the_page_prints_the_record() -> None:
    page = (ROOT / "docs/configure.md").read_text()
    for name, row in RECORD.items():
        cells = [f"{value} GB" if "GB" in key else str(value) for key, value in row.items()][:4]
        line = " | ".join(cells)
        assert line in page, name
    assert f"{RECORD['depth stage 1']['kept of a frame, GB']} GB for each frame" in page


def test_state_is_what_adamw_and_an_average_hold() -> None:
    """By PyTorch's optimizer itself, of a layer that trains beside one that does not."""
    layer, frozen = torch.nn.Linear(100, 10, bias=False), torch.nn.Linear(50, 10, bias=False)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 100)).sum().backward()
    optimizer.step()
    held = [layer.weight, frozen.weight, layer.weight.grad, layer.weight.clone()]  # the average
    held += [value for value in optimizer.state[layer.weight].values() if value.numel() > 1]
    expected = sum(tensor.nbytes for tensor in held)
    row = training_memory._row(10**6 * 1000, 10**6 * 1500)
    assert row["state, GB"] * 1e9 / 1e6 == pytest.approx(expected)


def test_the_counts_are_those_of_stable_diffusion_2() -> None:
    """Its UNet has 865,910,724 parameters with 4 channels, the attention 147,572,480 more."""
    assert RECORD["panorama stage 2"]["trained, millions"] == 147.6
    assert RECORD["depth stage 1"]["trained, millions"] == round((865_910_724 + 9 * 320) / 1e6, 1)


def test_what_is_kept_grows_with_the_views() -> None:
    with torch.device("meta"):
        small = UNet2DConditionModel(
            block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=16,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=8,
        )  # fmt: skip
    one, two = (training_memory.saved_bytes(small, views, 16, 16) for views in (1, 2))
    assert one * 1.9 < two < one * 2.1
