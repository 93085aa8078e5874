"""Text, depth and poses → the images of a sequence (paper, sections 3.3 and 4.2).

Key frames are generated together; the frames between two of them follow, both being given.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mvdiffusion.geometry.depth import normalized_inverse_depth
from mvdiffusion.models.depth_geometry import DepthGeometry
from mvdiffusion.models.image_conditioning import image_condition
from mvdiffusion.pipelines.checks import (
    Generators,
    Prompts,
    check_depth,
    check_intrinsics,
    check_key_frames,
    check_poses,
    check_prompts,
    check_shape,
    check_size,
    per_view_prompts,
)
from mvdiffusion.pipelines.multiview import MultiViewPipeline, StepCallback
from mvdiffusion.pipelines.options import SamplingOptions, tensor_names
from mvdiffusion.records import InputError

logger = logging.getLogger(__name__)

SAMPLE_FRAMES = 12  # of a training sample: two key frames and ten between (paper, section 4.2)


@dataclass(frozen=True)
class FrameGroup:
    """Frames that are denoised together.

    Attributes:
        frames: their indices in the sequence, increasing.
        given: whether the first and the last of them are key frames generated before.
    """

    frames: list[int]
    given: bool

    @property
    def new(self) -> list[int]:
        """The frames that this group generates."""
        return self.frames[1:-1] if self.given else self.frames


def frame_groups(key_frames: Sequence[int], num_views: int | None = None) -> list[FrameGroup]:
    """Plan a sequence: first the key frames, then, in order, all frames between each two of them.

    The authors' code denoises all key frames of a sequence together: a group sees no other, so two
    groups of them would show two scenes. Frames between two key frames see these two, whatever
    their group; here as many are together as in training (paper, section 4.2).

    Args:
        key_frames: increasing indices; the sequence begins and ends with one.
        num_views: most frames to denoise together, key frames included; None: all key frames, and
            between two of them at most `SAMPLE_FRAMES`. What is more is shared evenly among as few
            groups of consecutive frames as possible.
    """
    together = _share(list(key_frames), num_views or len(key_frames))
    groups = [FrameGroup(part, False) for part in together]
    for first, last in pairwise(key_frames):
        between = _share(list(range(first + 1, last)), (num_views or SAMPLE_FRAMES) - 2)
        groups += [FrameGroup([first, *part, last], True) for part in between]
    return groups


def _share(frames: list[int], most: int) -> list[list[int]]:
    """Cut a list evenly into as few parts of at most `most` as possible."""
    if not frames:
        return []
    return [part.tolist() for part in np.array_split(frames, -(-len(frames) // most))]


@dataclass(frozen=True)
class PosedFrames:
    """B sequences of V frames to paint: prompts, depth and cameras."""

    prompts: list[list[str]]
    depth: Tensor  # [B, V, H, W], meters
    K: Tensor  # [B, V, 3, 3], pixels
    pose: Tensor  # [B, V, 4, 4], camera-to-world

    def each(self, options: SamplingOptions) -> PosedFrames:
        """Repeat every sequence as often as the options want images of it."""
        tensors = [options.each(values) for values in (self.depth, self.K, self.pose)]
        return PosedFrames(options.each(self.prompts), *tensors)

    def take(self, frames: list[int], device: torch.device) -> PosedFrames:
        """Pick frames, on a device.

        Args:
            frames: n indices.
            device: device of the tensors.
        """
        prompts = [[texts[frame] for frame in frames] for texts in self.prompts]
        tensors = [values[:, frames].to(device) for values in (self.depth, self.K, self.pose)]
        return PosedFrames(prompts, *tensors)


class MVDiffusionDepthPipeline(MultiViewPipeline):
    """Denoise posed views with depth: key frames first, then what lies between them.

    The UNet sees, beside the noisy latents, the normalized inverse depth; between key frames also
    the latents of the two key frames around, as the sampler left them (docs/released.md).
    """

    unet_task = "depth"

    @classmethod
    def input_channels(cls, latent_channels: int) -> int:
        """Input channels of this task's UNet."""
        return latent_channels + 1

    def __call__(
        self,
        prompt: Prompts | None,
        depth: Tensor,
        pose: Tensor,
        K: Tensor,
        key_frames: Sequence[int] | None = None,
        num_views: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 9.0,
        negative_prompt: str | Sequence[str] = "",
        correspondence_attention: bool = True,
        generator: Generators = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        **options: Any,
    ) -> Any:
        """Generate whole sequences; resulting tensors are on the CPU.

        Args:
            prompt: one text for all frames; or one per frame; or a list of those lists, one for
                each of B sequences; None with the option `prompt_embeds`.
            depth: along the optical axis in meters, 0 = none, [V, H, W] or [B, V, H, W]; the
                images get its height and width.
            pose: camera-to-world transforms [V, 4, 4] or [B, V, 4, 4], meters.
            K: intrinsics in pixels of the H x W images, [3, 3], [V, 3, 3] or [B, V, 3, 3].
            key_frames: increasing indices, the first and the last frame among them; they are
                generated first, from text, and the others from text and the key frames around.
                None: all frames are key frames.
            num_views: most frames to denoise together, which needs less memory (see
                `frame_groups`); None: all key frames. Key frames of two groups see nothing of each
                other, which is logged as a warning.

        The other arguments are those of `MVDiffusionPanoramaPipeline`; steps count within a group.
        A callback that interrupts leaves out the steps of the groups that follow, too: frames that
        were not begun stay noise.

        Raises:
            InputError: arguments that do not fit together; the message says which.
        """
        groups = self.iterate(
            prompt, depth, pose, K, key_frames, num_views, num_inference_steps, guidance_scale,
            negative_prompt, correspondence_attention, generator, latents, output_type,
            callback_on_step_end, callback_on_step_end_tensor_inputs, **options,
        )  # fmt: skip
        chosen = SamplingOptions.parse(options)
        order: list[int] = []
        parts: list[Any] = []
        for frames, images in groups:
            order += frames
            parts.append(images.cpu() if isinstance(images, Tensor) else images)
        place = np.argsort(order)
        if isinstance(parts[0], list):
            samples = [
                [image for part in rows for image in part] for rows in zip(*parts, strict=True)
            ]
            return self.result([[images[i] for i in place] for images in samples], chosen)
        join = np.concatenate if isinstance(parts[0], np.ndarray) else torch.cat
        return self.result(join(parts, 1)[:, place], chosen)

    def iterate(
        self,
        prompt: Prompts | None,
        depth: Tensor,
        pose: Tensor,
        K: Tensor,
        key_frames: Sequence[int] | None = None,
        num_views: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 9.0,
        negative_prompt: str | Sequence[str] = "",
        correspondence_attention: bool = True,
        generator: Generators = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        **options: Any,
    ) -> Iterator[tuple[list[int], Any]]:
        """Generate sequences group by group.

        Memory does not grow with the length of the sequence but for its latents, so that callers
        may write the frames of long ones as they come.

        The arguments are those of a call of the pipeline.

        Returns:
            An iterator over (indices of n frames, their images, [B, n, …] as `MultiViewOutput`):
            first the key frames, then the others in order.

        Raises:
            InputError: at once, for arguments that do not fit together.
        """
        chosen = SamplingOptions.parse(options)
        frames = self.posed_frames(chosen.texts(prompt), depth, pose, K)
        check_prompts(frames.prompts, negative_prompt, len(frames.depth))
        frames = frames.each(chosen)
        batch, views, height, width = frames.depth.shape
        keys = list(range(views)) if key_frames is None else [int(key) for key in key_frames]
        names = tensor_names(callback_on_step_end, callback_on_step_end_tensor_inputs)
        check_size(height, width, self.vae_scale_factor)
        check_depth(frames.depth)
        check_poses(frames.pose)
        check_intrinsics(frames.K)
        check_key_frames(keys, views, num_views)
        self.check_sampling(
            num_inference_steps, guidance_scale, generator, batch, output_type, names
        )
        shape = (batch, views, *self.latent_shape(height, width))
        noise = self.prepare_latents(shape, generator, latents)
        sampling = {
            "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "generator": generator,
            "callback_on_step_end": callback_on_step_end,
            "callback_on_step_end_tensor_inputs": names,
        }
        negative = negative_prompt if guidance_scale > 1 else None
        groups = frame_groups(keys, num_views)
        apart = sum(not group.given for group in groups)
        if correspondence_attention and apart > 1:
            logger.warning(
                f"{len(keys)} key frames are denoised in {apart} groups that see nothing of each "
                f"other, as num_views is {num_views}: their images will show different things. "
                "Leave num_views out to denoise them together."
            )
        return self._generate(
            groups, frames, noise, negative, correspondence_attention, output_type, sampling, chosen
        )

    @torch.no_grad()
    def _generate(
        self,
        groups: list[FrameGroup],
        frames: PosedFrames,
        noise: Tensor,
        negative_prompt: str | Sequence[str] | None,
        correspondence_attention: bool,
        output_type: str,
        sampling: dict[str, Any],
        options: SamplingOptions,
    ) -> Iterator[tuple[list[int], Any]]:
        keys: dict[int, Tensor] = {}  # latents [B, C, h, w] of the key frames
        for group in groups:
            part = frames.take(group.frames, noise.device)
            negative = negative_prompt
            if negative is not None and not isinstance(negative, str):
                negative = [negative[frame] for frame in group.frames]
            start, own = noise[:, group.frames], options.of_views(group.frames)
            found = self.denoise(
                start,
                self.encode_prompt(part.prompts, negative, own),
                # Not by the UNet, which under CPU offload is not on its device yet.
                DepthGeometry(part.depth, part.K, part.pose, self.unet.config["variant"])
                if correspondence_attention
                else None,
                extra_channels=normalized_inverse_depth(part.depth, *start.shape[-2:]),
                image_condition=key_frame_condition(keys, group) if group.given else None,
                **sampling,
                options=own,
            )
            if group.given:
                found = found[:, 1:-1]
            else:
                keys.update(zip(group.frames, found.unbind(1), strict=True))
            yield group.new, self.decode_latents(found, output_type)
        self.maybe_free_model_hooks()

    def posed_frames(self, prompt: Prompts, depth: Tensor, pose: Tensor, K: Tensor) -> PosedFrames:
        """Bring the accepted forms of inputs into batches of sequences.

        Raises:
            InputError: shapes that do not fit together.
        """
        if depth.ndim not in (3, 4):
            raise InputError(
                f"Expected `depth` of shape (V, H, W) or (B, V, H, W), got {tuple(depth.shape)}."
            )
        depth = depth[None] if depth.ndim == 3 else depth
        batch, views = depth.shape[:2]
        pose = pose.expand(batch, -1, -1, -1) if pose.ndim == 3 else pose
        if K.ndim in (2, 3):
            K = K.expand(batch, views if K.ndim == 2 else len(K), -1, -1)
        check_shape("pose", pose, (batch, views, 4, 4))
        check_shape("K", K, (batch, views, 3, 3))
        prompts = per_view_prompts(prompt, views, batch)
        return PosedFrames(prompts, depth.float(), K.float(), pose.float())


def key_frame_condition(keys: dict[int, Tensor], group: FrameGroup) -> Tensor:
    """Make the condition of in-between frames: the first and the last of them are known.

    Args:
        keys: latents [B, C, h, w] of the key frames, by frame.
        group: n frames whose first and last are key frames.

    Returns:
        Latents of the two, zeros between them, and their mask, [B, n, C + 1, h, w].
    """
    first, last = (keys[group.frames[place]] for place in (0, -1))
    between = [torch.zeros_like(first)] * len(group.new)
    known = torch.tensor([1.0, *[0.0] * len(group.new), 1.0], device=first.device)
    return image_condition(torch.stack([first, *between, last], 1), known.expand(len(first), -1))
