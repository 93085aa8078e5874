"""What is equal at every step of a sampling, computed once: keys and values of texts, conditions.

A sampler calls the UNet with other latents at each step, but with the same texts and the same image
condition. The layers that see nothing else give the same result then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.utils.torch_utils import is_compiled_module
from torch import Tensor, nn


@dataclass(frozen=True)
class _Kept:
    held: tuple[nn.Module, Tensor]  # so that nothing else takes their place in memory
    numbers: list[Any]
    result: Any


class StepMemory:
    """Results of layers by their input, while a sampling runs."""

    def __init__(self) -> None:
        """Begin with nothing; `during_sampling` switches it on."""
        self._kept: dict[tuple[int, int], _Kept] | None = None

    @contextmanager
    def during_sampling(self, unet: UNet2DConditionModel) -> Iterator[None]:
        """Keep what a UNet's text attention makes of the texts, and what `get` is asked for.

        Attention processors that a user has set are left alone, and so is a compiled UNet: its
        graph would be made anew.

        Args:
            unet: the shared UNet.
        """
        plain = [
            layer
            for name, layer in unet.named_modules()
            if name.endswith("attn2") and type(layer.processor) is AttnProcessor2_0
        ]
        compiled = any(m._compiled_call_impl or is_compiled_module(m) for m in unet.modules())
        if compiled or self._kept is not None:
            yield
            return
        self._kept = {}
        for layer in plain:
            layer.processor = _KeepingProcessor(self)
        try:
            yield
        finally:
            self._kept = None
            for layer in plain:
                if isinstance(
                    layer.processor, _KeepingProcessor
                ):  # else a callback has set its own
                    layer.processor = AttnProcessor2_0()

    def get(self, layer: nn.Module, given: Tensor) -> Any:
        """Return what `layer` makes of `given`, computed once for each part of a tensor.

        Args:
            layer: whose result depends on `given` and its weights alone; with adapters or hooks it
                is called every time.
            given: a tensor that stays in its place from step to step; else it is computed anew.
        """
        memory = self._kept
        if memory is None or torch.is_grad_enabled() or given.is_inference() or _is_altered(layer):
            return layer(given)
        place = id(layer), int(given.storage_offset())  # parts of a tensor, if views run in chunks
        kept, numbers = memory.get(place), [_numbers(x) for x in (given, *layer.parameters())]
        if kept is None or kept.numbers != numbers:
            kept = memory[place] = _Kept((layer, given), numbers, layer(given))
        return kept.result


def _numbers(x: Tensor) -> tuple[Any, ...]:
    """Tell a tensor's numbers from others: where they are, and how often they were written to."""
    version = 0 if x.is_inference() else x._version
    return x.data_ptr(), x.shape, x.stride(), x.dtype, x.device, version


def _is_altered(layer: nn.Module) -> bool:
    """Whether adapters (LoRA) or hooks take part, which may do otherwise at the next step."""
    hooked = any(part._forward_hooks or part._forward_pre_hooks for part in layer.modules())
    return hooked or any(name.endswith("base_layer") for name, _ in layer.named_modules())


class _KeepingProcessor:
    """diffusers' own text attention, but for keys and values, which come out of a memory."""

    def __init__(self, memory: StepMemory) -> None:
        self._attend, self._memory = AttnProcessor2_0(), memory

    def __call__(self, layer: Attention, x: Tensor, *inputs: Any, **options: Any) -> Tensor:
        found: Tensor = self._attend(_Keeping(layer, self._memory), x, *inputs, **options)
        return found


class _Keeping:
    """An attention layer as a processor sees it."""

    def __init__(self, layer: Attention, memory: StepMemory) -> None:
        self._layer, self._memory = layer, memory

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)

    def to_k(self, text: Tensor) -> Any:
        return self._memory.get(self._layer.to_k, text)

    def to_v(self, text: Tensor) -> Any:
        return self._memory.get(self._layer.to_v, text)
