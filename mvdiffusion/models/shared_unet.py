"""What diffusers and its users ask of a UNet, of which a multi-view UNet holds one."""

from __future__ import annotations

from typing import Any

from diffusers import UNet2DConditionModel


def _shared(name: str) -> Any:
    """Make a property that is the shared UNet's, a method or an attribute."""

    def get(self: SharedUNet) -> Any:
        return getattr(self.unet, name)

    return property(get, doc=f"`UNet2DConditionModel.{name}` of the UNet that the views share.")


class SharedUNet:
    """Hands adapters (LoRA) and attention processors to the UNet that the views share.

    What was made for a UNet of Stable Diffusion finds its layers there under their own names; the
    layers between the views have neither.
    """

    unet: UNet2DConditionModel

    attn_processors = _shared("attn_processors")
    set_attn_processor = _shared("set_attn_processor")
    set_default_attn_processor = _shared("set_default_attn_processor")

    peft_config = _shared("peft_config")
    load_lora_adapter = _shared("load_lora_adapter")
    save_lora_adapter = _shared("save_lora_adapter")
    add_adapter = _shared("add_adapter")
    set_adapter = _shared("set_adapter")
    set_adapters = _shared("set_adapters")
    active_adapters = _shared("active_adapters")
    delete_adapters = _shared("delete_adapters")
    disable_lora = _shared("disable_lora")
    enable_lora = _shared("enable_lora")
    fuse_lora = _shared("fuse_lora")
    unfuse_lora = _shared("unfuse_lora")
    unload_lora = _shared("unload_lora")
