"""Settings of scores, claims and the training of feature extractors.

They lie together and import little, as the workflow checks its configuration against them.
"""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field

from mvdiffusion.settings import (
    LARGEST,
    Count,
    ImageSide,
    InnerShare,
    LearningRate,
    NonNegative,
    Positive,
    Seed,
    Share,
    Text,
    mistake,
    settings,
)

Width = Annotated[int, Field(ge=1, le=8192)]
Layers = Annotated[int, Field(ge=1, le=64)]
Channels = Annotated[tuple[Width, ...], Field(min_length=1, max_length=8)]
Decibels = Annotated[float, Field(ge=-100, le=100)]  # all that PSNR and its differences can be
DecibelMargin = Annotated[float, Field(ge=0, le=100)]
InnerHalf = Annotated[float, Field(gt=0, lt=0.5)]
Slope = Annotated[float, Field(ge=-1, le=1)]
FEATURES_PER_ROW = 4  # FAED's, per row of pixels of a panorama: 2048 for 512 × 1024


@settings
class ScoreSettings:
    """How to score. What is null is as the protocols say; another value is marked in their names.

    Attributes:
        protocols: names of the protocols to run; empty for all whose needs are met.
        extractors: feature extractors: names of pretrained ones, or folders of others.
        consistency_resolution: height in pixels at which neighboring views of a panorama are
            compared.
        max_depth_difference: meters by which depths of one point may differ between two frames
            before it counts as hidden in one of them.
        lpips: network of the perceptual distance between views; none if empty.
        without_poles: share of the rows of a panorama that FIDclip leaves out above, and as much
            below.
        inception_splits: number of splits of the Inception score.
        jackknife_groups: groups of samples behind the standard errors of FID, the Inception score
            and other numbers of whole sets.
        seed: seed of the Inception score's shuffle and of KID's subsets.
    """

    protocols: tuple[str, ...] = ()
    extractors: tuple[str, ...] = ()
    consistency_resolution: ImageSide | None = None
    max_depth_difference: Positive | None = None
    lpips: Literal["", "alex", "vgg", "squeeze"] = ""
    without_poles: InnerHalf | None = None
    inception_splits: Count | None = None
    jackknife_groups: Annotated[int, Field(ge=2)] = 32
    seed: Seed = 0

    def options_for(self, task: str) -> dict[str, Any]:
        """What takes the place of steps' options, by option."""
        given: dict[str, Any] = {"network": self.lpips or None, "splits": self.inception_splits}
        if task == "depth":
            given["max_depth_difference"] = self.max_depth_difference
        else:
            given["resolution"] = self.consistency_resolution
            given["without_poles"] = self.without_poles
        return {name: value for name, value in given.items() if value is not None}


@settings
class ClaimSettings:
    """Bounds of the claims.

    Attributes:
        consistency_gain_db: claim 1, MVDiffusion above independent views.
        closing_margin_db: claim 2, how far the closing pair may be below the others.
        autoregressive_drop_db: claim 2, how far the autoregressive closing pair must be below.
        accumulation_fall_db: claim 3, what autoregressive PSNR must lose with every step beyond
            that of independent views.
        accumulation_rise: claim 3, what its Fréchet distance from real views must gain with every
            step beyond that of independent views, as a share of its mean over the steps.
        steady_fall_db: claim 3, what MVDiffusion's PSNR may lose with every step beyond that of
            independent views.
        steady_rise: claim 3, what its Fréchet distance may gain with every step, likewise.
        gradient_energy_band: claim 4, least share of gradient energy between MVDiffusion and real
            views after VAE reconstruction, either way: blur lowers it, noise raises it.
        other_scene_margin_db: claim 4, how far PSNR against another scene may rise.
        wrong_correspondence_drop_db: claim 4, what wrong correspondences must cost.
        fid_margin: claim 5, share of the independent views' FID that may be lost.
        inception_score_margin: claim 5, share of what their Inception score exceeds 1 by.
        clip_score_margin: claim 5, points of the CLIP score that may be lost.
        depth_gain_db: claim 6, MVDiffusion above independent frames: key frames with one another,
            and in-between frames with the worse of their key frames.
        given_view_kept_db: claim 7, PSNR of the given view against itself after VAE reconstruction.
        outpaint_gain_db: claim 7, MVDiffusion above independent views next to the given view.
        judged: whether there are verdicts; not on runs that only test that all steps work, as
            they would be about noise.
    """

    consistency_gain_db: Decibels = 0.0
    closing_margin_db: DecibelMargin = 1.0
    autoregressive_drop_db: Decibels = 4.0
    accumulation_fall_db: Decibels = 0.0
    accumulation_rise: Slope = 0.0
    steady_fall_db: DecibelMargin = 0.1
    steady_rise: Share = 0.02
    gradient_energy_band: Share = 0.75
    other_scene_margin_db: DecibelMargin = 0.5
    wrong_correspondence_drop_db: Decibels = 1.0
    fid_margin: Share = 0.05
    inception_score_margin: Share = 0.05
    clip_score_margin: Annotated[float, Field(ge=0, le=100)] = 0.5
    depth_gain_db: Decibels = 0.0
    given_view_kept_db: Decibels = 30.0
    outpaint_gain_db: Decibels = 0.0
    judged: bool = True


@settings
class ViewTraining:
    """What both trainings on views with prompts have.

    Attributes:
        image_size: side in pixels to which images are resized.
        epochs: passes over the views.
        batch_size: images per step.
        learning_rate: highest learning rate.
        weight_decay: weight decay of AdamW.
        held_out: share of the rooms kept for validation.
        seed: seed of weights and order.
    """

    image_size: ImageSide = 64
    epochs: Count = 8
    batch_size: Annotated[int, Field(ge=2, le=LARGEST)] = 64  # one has no variance to divide by
    learning_rate: LearningRate = 1e-3
    weight_decay: NonNegative = 0.1
    held_out: InnerShare = 0.1
    seed: Seed = 0


@settings
class ClassifierSettings(ViewTraining):
    """Training of the classifier, whose features serve FID and the Inception score.

    Attributes:
        classes: phrases, exactly one of which is in any prompt.
        channels: channels by level.
    """

    classes: Annotated[tuple[Text, ...], Field(min_length=2)] = field(kw_only=True)
    channels: Channels = (32, 64, 96, 128)
    learning_rate: LearningRate = 2e-3
    weight_decay: NonNegative = 0.05


@settings
class ClipSettings(ViewTraining):
    """Training of the small CLIP: a convolutional image tower and a transformer text tower.

    Attributes:
        embed_dim: width of the shared space.
        vision_width: width of the image tower.
        vision_layers: layers of the image tower by level.
        text_width: width of the text tower.
        text_layers: layers of the text tower.
        text_heads: heads of the text tower.
        context_length: tokens per prompt.
    """

    image_size: Annotated[int, Field(ge=32, le=2**14, multiple_of=32)] = 64  # halved five times
    embed_dim: Width = 128
    vision_width: Annotated[int, Field(ge=2, le=512, multiple_of=2)] = 24  # heads: half of it
    vision_layers: Annotated[tuple[Layers, ...], Field(min_length=4, max_length=4)] = (1, 1, 1, 1)
    text_width: Width = 128
    text_layers: Layers = 2
    text_heads: Count = 4
    context_length: Annotated[int, Field(ge=4, le=4096)] = 48

    def __post_init__(self) -> None:
        """Refuse a text tower whose width cannot be divided between its heads."""
        if self.text_width % self.text_heads:
            expected = f"a multiple of text_heads = {self.text_heads}"
            raise mistake("text_width", self.text_width, expected)


@settings
class FaedSettings:
    """Training of FAED's autoencoder; length, batch and step size as in PanFusion's training.

    Attributes:
        height: height in pixels of the panoramas that it sees; others are resized.
        widths: channels of each stage, which halves the resolution; the last is 4 · 2^stages.
        epochs: passes over the panoramas.
        batch_size: panoramas per step.
        learning_rate: learning rate of the first epoch.
        learning_rate_decay: factor on the learning rate after every epoch.
        held_out: share of the panoramas kept for validation.
        seed: seed of weights and order.
    """

    height: ImageSide = 512
    widths: Channels = (32, 64, 96, 128, 128)
    epochs: Count = 60
    batch_size: Count = 4
    learning_rate: LearningRate = 1e-4
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 0.99
    held_out: InnerShare = 0.1
    seed: Seed = 0

    def __post_init__(self) -> None:
        """Refuse an autoencoder whose stages cannot halve the panoramas to FAED's features."""
        stages, stride = len(self.widths), 2 ** len(self.widths)
        if self.widths[-1] != FEATURES_PER_ROW * stride:
            expected = f"{FEATURES_PER_ROW * stride} at the end of {stages} stages, for "
            expected += f"{FEATURES_PER_ROW} features per row of pixels"
            raise mistake("widths", list(self.widths), expected)
        if self.height % stride:
            raise mistake(
                "height", self.height, f"a multiple of {stride}, as {stages} stages halve it"
            )
