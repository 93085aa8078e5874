"""What the multi-view pipelines share: prompts, noise, the sampling loop, the VAE."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from diffusers import DiffusionPipeline
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import is_compiled_module, randn_tensor
from torch import Tensor

from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.pipelines.checks import (
    Generators,
    check_embeds,
    check_finite,
    check_numbers,
    check_shape,
    check_size,
)
from mvdiffusion.pipelines.folders import ModelFolders
from mvdiffusion.pipelines.options import PLAIN, SamplingOptions, tensor_names
from mvdiffusion.pipelines.text import TextConditioning
from mvdiffusion.records import InputError

StepCallback = Callable[[Any, int, Tensor, dict[str, Tensor]], dict[str, Tensor]]
Predict = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass
class MultiViewOutput(BaseOutput):
    """Result of a multi-view pipeline.

    Attributes:
        images: views, one list per sample ("pil"), or an array [B, V, H, W, 3] in 0 … 1 ("np"),
            or a tensor [B, V, 3, H, W] in 0 … 1 ("pt"), or latents [B, V, C, h, w] ("latent").
    """

    images: Any


class MultiViewPipeline(ModelFolders, DiffusionPipeline, TextConditioning):
    """Parts of a multi-view model; the tasks' pipelines derive from it."""

    model_cpu_offload_seq = "text_encoder->text_encoder_2->unet->vae"
    _optional_components: ClassVar[list[str]] = ["text_encoder_2", "tokenizer_2"]
    _callback_tensor_inputs: ClassVar[list[str]] = ["latents", "prompt_embeds"]

    unet_task = "panorama"

    def __init__(
        self,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        unet: MultiViewUNet,
        scheduler: Any,
        text_encoder_2: Any = None,
        tokenizer_2: Any = None,
        force_zeros_for_empty_prompt: bool = False,
    ) -> None:
        """Hold the parts; `from_pretrained` and `save_pretrained` come with diffusers.

        Args:
            vae, text_encoder, tokenizer, unet, scheduler: parts of every Stable Diffusion.
            text_encoder_2, tokenizer_2: SDXL's further ones.
            force_zeros_for_empty_prompt: whether SDXL's embeddings of an empty text are zeros.

        Raises:
            InputError: the UNet is one of single views.
            ValueError: it is one of another task.
        """
        super().__init__()
        self.register_modules(
            vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler,
            text_encoder_2=text_encoder_2, tokenizer_2=tokenizer_2,
        )  # fmt: skip
        if text_encoder_2 is not None:
            self.register_to_config(force_zeros_for_empty_prompt=force_zeros_for_empty_prompt)
        if not isinstance(unet, MultiViewUNet):
            raise InputError(
                f"Expected a multi-view UNet for {type(self).__name__}, got a "
                f"{type(unet).__name__}: load a model of single views, such as Stable Diffusion, "
                "by `from_single_view`."
            )
        expected = (self.unet_task, self.input_channels(vae.config.latent_channels))
        found = (unet.config["task"], unet.config["unet_config"]["in_channels"])
        if found != expected:
            raise ValueError(
                f"Expected a UNet of task {expected[0]!r} with {expected[1]} input channels for "
                f"{type(self).__name__}, got {found[0]!r} with {found[1]}; take the "
                "model of this task, or the pipeline of that one."
            )
        self.vae_scale_factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.image_processor = VaeImageProcessor(vae_scale_factor=self.vae_scale_factor)
        self.vae_slicing = False
        self._cut_prompts: set[str] = set()
        # Known to diffusers' callbacks, which also set the underscored ones.
        self._guidance_scale, self._num_timesteps, self._interrupt = 1.0, 0, False

    @property
    def guidance_scale(self) -> float:
        """Scale of classifier-free guidance of the sampling under way."""
        return self._guidance_scale

    @property
    def num_timesteps(self) -> int:
        """Steps of the sampling under way."""
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """Whether a callback has set `_interrupt`, to leave out the steps that follow."""
        return self._interrupt

    def set_view_chunk(self, views: int | None) -> None:
        """Run so many views at a time through the layers that know no other views; None: all.

        It needs less memory, and the result is the same but for rounding.
        """
        self.unet.set_view_chunk(views)

    def enable_vae_slicing(self) -> None:
        """Encode and decode one view at a time: less memory, the same result."""
        self.vae_slicing = True

    def disable_vae_slicing(self) -> None:
        """Encode and decode the views of a sample together."""
        self.vae_slicing = False

    def enable_vae_tiling(self) -> None:
        """Encode and decode views in tiles: less memory for large ones, almost the same result.

        Raises:
            InputError: the VAE knows no tiles, as that of the miniature.
        """
        if not hasattr(self.vae, "enable_tiling"):
            raise InputError(
                f"Expected a VAE that knows tiles, such as AutoencoderKL, got a "
                f"{type(self.vae).__name__}: use `enable_vae_slicing`."
            )
        self.vae.enable_tiling()

    def disable_vae_tiling(self) -> None:
        """Encode and decode views whole."""
        if hasattr(self.vae, "disable_tiling"):
            self.vae.disable_tiling()

    def check_sampling(
        self,
        num_inference_steps: int,
        guidance_scale: float,
        generator: Generators,
        batch: int,
        output_type: str,
        callback_on_step_end_tensor_inputs: Sequence[str],
    ) -> None:
        """Refuse wrong numbers, generators, kinds of output and names of a callback's tensors.

        An interruption of the call before is over.

        Raises:
            InputError: naming the argument, what was expected and what was got.
        """
        self._interrupt = False
        check_numbers(num_inference_steps, guidance_scale, self.scheduler)
        if isinstance(generator, list) and len(generator) != batch:
            raise InputError(
                f"Expected one `generator`, or one per sample ({batch}), got {len(generator)}."
            )
        if output_type not in ("pil", "np", "pt", "latent"):
            raise InputError(
                f"Expected `output_type` 'pil', 'np', 'pt' or 'latent', got {output_type!r}."
            )
        known = self._callback_tensor_inputs
        if unknown := sorted(set(callback_on_step_end_tensor_inputs) - set(known)):
            raise InputError(
                f"Expected `callback_on_step_end_tensor_inputs` out of {known}, got {unknown[0]!r}."
            )

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Shape (C, h, w) of one view's latents."""
        factor = self.vae_scale_factor
        return self.vae.config.latent_channels, height // factor, width // factor

    def default_size(self) -> tuple[int, int]:
        """Height and width in pixels that the UNet was made for."""
        size = self.unet.config["unet_config"]["sample_size"]
        height, width = (size, size) if isinstance(size, int) else size
        return height * self.vae_scale_factor, width * self.vae_scale_factor

    def view_size(self, height: int | None, width: int | None) -> tuple[int, int]:
        """Height and width in pixels of a view: those asked for, or the default.

        Raises:
            InputError: the VAE's factor does not divide them.
        """
        default = self.default_size()
        height = default[0] if height is None else height
        width = default[1] if width is None else width
        check_size(height, width, self.vae_scale_factor)
        return height, width

    def prepare_latents(
        self, shape: tuple[int, ...], generator: Generators, latents: Tensor | None
    ) -> Tensor:
        """Draw the initial noise [B, V, C, h, w], or check and take the given one.

        Returns:
            Noise of unit variance, float32 whatever the UNet's type: small steps would be lost in
            half precision.

        Raises:
            InputError: `latents` of another shape.
        """
        if latents is None:
            latents = randn_tensor(shape, generator, self._execution_device)
        check_shape("latents", latents, shape)
        return latents.to(self._execution_device, torch.float32)

    def denoise(
        self,
        latents: Tensor,  # [B, V, C, h, w]
        prompt_embeds: Tensor,  # [B or 2 B, V, L, D]
        geometry: Any,
        num_inference_steps: int,
        guidance_scale: float,
        generator: Generators = None,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        extra_channels: Tensor | None = None,
        image_condition: Tensor | None = None,
        options: SamplingOptions = PLAIN,
    ) -> Tensor:
        """Run the sampler from noise to latents [B, V, C, h, w].

        Args:
            latents: noise of unit variance, from `prepare_latents`.
            prompt_embeds: from `encode_prompt`; twice as many samples mean guidance.
            geometry: correspondences, of the UNet's `prepare_geometry` or
                `prepare_depth_geometry`; None leaves the views independent.
            num_inference_steps: denoising steps.
            guidance_scale: classifier-free guidance.
            generator: for samplers that add noise.
            callback_on_step_end: as in diffusers, called with (pipeline, step, timestep, tensors);
                the tensors that it returns by name take the place of the sampler's.
            callback_on_step_end_tensor_inputs: names of those tensors, "latents", "prompt_embeds".
            extra_channels: input channels after those of the latents, [B, V, C', h, w].
            image_condition: latents of known images and their mask, [B, V, C + 1, h, w].
            options: rescaling of the guidance, noise of DDIM, options of attention processors.

        Raises:
            InputError: latents became NaN or infinite.
        """
        if geometry is not None:
            self.unet.complete_geometry(geometry, *latents.shape[-2:])
        if image_condition is not None:
            image_condition = image_condition.to(self.unet.dtype)

        def predict(latents: Tensor, t: Tensor, prompt_embeds: Tensor) -> tuple[Tensor, Tensor]:
            return latents, self.predict(
                latents, t, prompt_embeds, geometry, extra_channels, image_condition, options
            )

        return self.run_sampler(
            predict,
            latents,
            prompt_embeds,
            num_inference_steps,
            guidance_scale,
            generator,
            callback_on_step_end,
            callback_on_step_end_tensor_inputs,
            options.eta,
        )

    def run_sampler(
        self,
        predict: Predict,
        latents: Tensor,
        prompt_embeds: Tensor,
        num_inference_steps: int,
        guidance_scale: float,
        generator: Generators = None,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        eta: float = 0.0,
    ) -> Tensor:
        """Run the sampler on whatever latents `predict` knows to predict.

        Args:
            predict: returns of latents, timestep and embeddings the latents that the step starts
                from, usually the same, and what the UNet predicts of them.
            latents: noise of unit variance.
            prompt_embeds: from `encode_prompt`.
            num_inference_steps, guidance_scale, generator: see `denoise`.
            callback_on_step_end, callback_on_step_end_tensor_inputs: see `denoise`.
            eta: noise that DDIM adds, of `SamplingOptions`.

        Raises:
            InputError: latents became NaN or infinite, or a callback returned embeddings of
                another number of samples.
        """
        self.scheduler.set_timesteps(num_inference_steps, device=latents.device)
        self._guidance_scale, self._num_timesteps = guidance_scale, len(self.scheduler.timesteps)
        latents = latents * self.scheduler.init_noise_sigma  # known once the steps are set
        names = tensor_names(callback_on_step_end, callback_on_step_end_tensor_inputs)
        parameters = inspect.signature(self.scheduler.step).parameters
        known = {"generator": generator, "eta": eta}
        options = {name: value for name, value in known.items() if name in parameters}
        compiled = is_compiled_module(self.unet)  # whose graph would be made anew
        with nullcontext() if compiled else self.unet.during_sampling():
            for index, t in enumerate(self.progress_bar(self.scheduler.timesteps)):
                if self.interrupt:
                    continue
                latents, noise_pred = predict(latents, t, prompt_embeds)
                latents = self.scheduler.step(noise_pred, t, latents, **options).prev_sample
                check_finite("latents", latents, self.unet.dtype)
                if callback_on_step_end is not None:
                    tensors = {"latents": latents, "prompt_embeds": prompt_embeds}
                    offered = {name: tensors[name] for name in names}
                    changed = {**tensors, **callback_on_step_end(self, index, t, offered)}
                    latents, prompt_embeds = changed["latents"], changed["prompt_embeds"]
                    check_embeds(prompt_embeds, len(latents))
        return latents

    def predict(
        self,
        latents: Tensor,
        t: Tensor,
        prompt_embeds: Tensor,
        geometry: Any = None,
        extra_channels: Tensor | None = None,
        image_condition: Tensor | None = None,
        options: SamplingOptions = PLAIN,
    ) -> Tensor:
        """Predict the noise of one step, guided if there are two sets of prompts.

        Args:
            latents: [B, V, C, h, w], not scaled yet.
            t: the timestep.
            prompt_embeds: [B or 2 B, V, L, D].
            geometry, extra_channels, image_condition, options: see `denoise`.
        """
        repeats = len(prompt_embeds) // len(latents)
        # Only the noisy latents are scaled to the sampler's liking, not what they are given.
        inputs = self.scheduler.scale_model_input(torch.cat([latents] * repeats), t)
        if extra_channels is not None:
            extra = torch.cat([extra_channels] * repeats).to(inputs.dtype)
            inputs = torch.cat([inputs, extra], 2)
        inputs = inputs.to(self.unet.dtype)
        noise_pred = self.run_unet(
            inputs, t, prompt_embeds, geometry, image_condition, options.cross_attention_kwargs
        ).float()
        if repeats == 1:
            return noise_pred
        negative, positive = noise_pred.chunk(2)
        return options.rescale(negative + self.guidance_scale * (positive - negative), positive)

    def run_unet(
        self,
        inputs: Tensor,
        t: Tensor,
        prompt_embeds: Tensor,
        geometry: Any,
        image_condition: Tensor | None = None,
        cross_attention_kwargs: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """Return what the UNet makes of all its inputs, [B, V, C, h, w].

        Args:
            inputs: latents as the UNet takes them, and extra channels, [B, V, C', h, w].
            t: the timestep.
            prompt_embeds, geometry, image_condition: see `denoise`.
            cross_attention_kwargs: of `SamplingOptions`.
        """
        sides = (side * self.vae_scale_factor for side in inputs.shape[-2:])
        text, added = self.text.conditions(prompt_embeds, *sides)
        given = {
            "image_condition": image_condition,
            "cross_attention_kwargs": cross_attention_kwargs,
            "added_cond_kwargs": added,
        }
        options = {name: value for name, value in given.items() if value is not None}
        sample: Tensor = self.unet(inputs, t, text, geometry, **options).sample
        return sample

    def result(self, images: Any, options: SamplingOptions) -> Any:
        """Hand back the images of a call, when the parts are done.

        Args:
            images: decoded.
            options: whether they come in a tuple.
        """
        self.maybe_free_model_hooks()
        return MultiViewOutput(images=images) if options.return_dict else (images,)

    @contextmanager
    def _without_overflow(self) -> Iterator[None]:
        """Let SDXL's VAE compute in float32 where it is held in half precision, as in diffusers."""
        # The VAEs of Stable Diffusion 1 and 2 have `force_upcast` too, as a default that none uses.
        asked = self.text_encoder_2 is not None and self.vae.config.get("force_upcast")
        upcast = bool(asked) and self.vae.dtype == torch.float16
        if upcast:
            self.vae.to(torch.float32)
        try:
            yield
        finally:
            if upcast:
                self.vae.to(torch.float16)

    def encode_views(self, views: Tensor) -> Tensor:
        """Encode views [B, V, 3, H, W] in −1 … 1 as scaled latents [B, V, C, h, w] (the mode)."""
        with self._without_overflow():
            pixels = views.flatten(0, 1).to(self._execution_device, self.vae.dtype)
            parts = pixels.split(1 if self.vae_slicing else views.shape[1])
            modes = [self.vae.encode(part).latent_dist.mode() for part in parts]
        latents = torch.cat(modes) * self.vae.config.scaling_factor
        return latents.unflatten(0, views.shape[:2])

    def decode_latents(self, latents: Tensor, output_type: str = "pt") -> Any:
        """Decode latents [B, V, C, h, w] as `output_type` images (see `MultiViewOutput`).

        Args:
            latents: scaled latents, as the sampler leaves them.
            output_type: "pil", "np", "pt" or "latent"; the last returns `latents` as they are.

        Raises:
            InputError: pixels are NaN or infinite.
        """
        if output_type == "latent":
            return latents
        with self._without_overflow():
            scaled = latents.flatten(0, 1).to(self.vae.dtype) / self.vae.config.scaling_factor
            # One sample at a time bounds the memory; the result is the same.
            parts = scaled.split(1 if self.vae_slicing else latents.shape[1])
            decoded = torch.cat([self.vae.decode(part).sample.float() for part in parts])
        check_finite("pixels", decoded, self.vae.dtype)
        images = self.image_processor.postprocess(decoded, output_type)
        if output_type == "pil":
            views = latents.shape[1]
            return [images[start : start + views] for start in range(0, len(images), views)]
        return images.reshape(*latents.shape[:2], *images.shape[1:])
