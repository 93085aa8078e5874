"""Typed training settings: every number of a run, checked before anything is computed.

A stage's settings are its section of the configuration (`Autoencoder`, `SingleView`, …) with what
all stages share: the seed, the device and how the data are cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from mvdiffusion.attention_settings import AttentionSettings
from mvdiffusion.settings import (
    Count,
    FieldOfView,
    ImageSide,
    LearningRate,
    NonNegative,
    Positive,
    Seed,
    Share,
    UsableDevice,
    Whole,
    mistake,
    settings,
)
from mvdiffusion.training.networks import (
    AutoencoderOptions,
    SchedulerOptions,
    TextEncoderOptions,
    UNetOptions,
)

NOT_DECIDING = ("device",)
NOT_DECIDING_IN_TRAINING = (
    "checkpoint_every",
    "gradient_accumulation_steps",  # divides a batch, like the number of processes
    "log_every",
    "num_workers",
    "validate_every",
)


def deciding_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a training command that decide its weights.

    The command line binds checkpoints and models to them, the workflow the digests of its steps; so
    neither throws away, over a setting of no meaning to the weights, what took days to train.

    Up to rounding, that is: another device or another division of the batch adds up in another
    order. `training.steps` decides, too: a model of 1,000 steps is not one of 2,000. Checkpoints
    alone leave it out, so that a run can be continued to more steps (`checkpoints`).

    >>> deciding_settings({"seed": 0, "device": "cpu", "training": {"steps": 9, "log_every": 1}})
    {'seed': 0, 'training': {'steps': 9}}
    """
    kept = {key: value for key, value in settings.items() if key not in NOT_DECIDING}
    if isinstance(training := kept.get("training"), Mapping):
        kept["training"] = {
            key: value for key, value in training.items() if key not in NOT_DECIDING_IN_TRAINING
        }
    return kept


@settings
class TrainingSettings:
    """How one training run is optimized.

    Neither the number of processes nor `gradient_accumulation_steps` changes what is learned.

    Attributes:
        steps: optimizer steps.
        batch_size: examples per step over all processes and accumulation steps: views in
            single-view training, panoramas or sequences in stage 2.
        learning_rate: highest learning rate.
        final_learning_rate: learning rate at which the cosine ends.
        warmup_steps: steps of the linear rise to learning_rate.
        weight_decay: weight decay of AdamW.
        max_grad_norm: norm to which gradients are clipped.
        gradient_accumulation_steps: parts in which a batch is computed.
        mixed_precision: autocast type; "auto" is bf16 where the device has instructions for it,
            and none elsewhere.
        ema_decay: decay of the averaged weights, which are saved.
        checkpoint_every: steps between resumable states.
        validate_every: steps between validation pictures.
        log_every: steps between log entries.
        num_workers: processes that read data.
        views_per_panorama: views cut from every panorama (frames from every scene) that is read,
            in single-view training only.
    """

    steps: Count
    batch_size: Count
    learning_rate: LearningRate
    final_learning_rate: Share = 0.0
    warmup_steps: Whole = 0
    weight_decay: NonNegative = 0.01
    max_grad_norm: Positive = 1.0
    gradient_accumulation_steps: Count = 1
    mixed_precision: Literal["no", "bf16", "fp16", "auto"] = "no"
    ema_decay: Share = 0.999
    checkpoint_every: Count = 500
    validate_every: Count = 1000
    log_every: Count = 10
    num_workers: Annotated[int, Field(ge=0, le=1024)] = 2
    views_per_panorama: Count = 1

    def __post_init__(self) -> None:
        """Refuse a batch that cannot be divided."""
        parts = self.gradient_accumulation_steps * self.views_per_panorama
        if self.batch_size % parts:
            product = f"gradient_accumulation_steps x views_per_panorama = {parts}"
            raise mistake("batch_size", self.batch_size, f"a multiple of {product}")


@settings
class ViewSettings:
    """How panoramas become perspective views.

    Attributes:
        image_size: height and width of a view in pixels.
        num_views: number of evenly spaced views.
        fov_deg: horizontal field of view in degrees.
        prompt_prefix: text put before every caption.
    """

    image_size: ImageSide
    num_views: Annotated[int, Field(ge=2, le=360)] = 8
    fov_deg: FieldOfView = 90.0
    prompt_prefix: str = "This is one view of a scene. "

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a view in pixels."""
        return self.image_size, self.image_size


@settings
class FrameSettings:
    """How recordings become samples: key frames that are denoised together, and those between.

    Attributes:
        height: height of a frame in pixels.
        width: width of a frame in pixels.
        num_views: key frames of a sequence, at least 3: two and one between.
        num_between: frames generated between two key frames, null for all; training fills its
            samples with `num_views` frames in either case.
        prompt_prefix: text put before every caption; the authors' code puts nothing there.
        sequences: how a scene is cut into the sequences that are scored (see `ScanNetScenes`):
            disjoint, or as the authors' code (released). Training draws sequences of its own.
    """

    height: ImageSide
    width: ImageSide
    num_views: Annotated[int, Field(ge=3, le=1000)] = 12
    num_between: Whole | None = None
    prompt_prefix: str = ""
    sequences: Literal["disjoint", "released"] = "disjoint"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a frame in pixels."""
        return self.height, self.width


@settings
class DiffusionLossSettings:
    """Timesteps, weights and captions of the diffusion loss.

    Attributes:
        min_snr_gamma: clamp of min-SNR weighting (Hang et al. 2023, eq. 8), null for equal weights.
        timestep_shift: above 1, noisy timesteps are drawn more often: a share u of the schedule
            becomes s u / (1 + (s - 1) u) (Esser et al. 2024, eq. 23); 1 draws all alike.
        caption_dropout: share of captions replaced by the empty one, which classifier-free guidance
            needs.
    """

    min_snr_gamma: Positive | None = None
    timestep_shift: Positive = 1.0
    caption_dropout: Share = 0.1


@settings
class VaeLossSettings:
    """Weights beside the L1 reconstruction error, whose weight is 1.

    Attributes:
        gradient_weight: weight of differences between neighboring pixels.
        kl_weight: weight of the KL divergence.
        perceptual_weight: weight of differences between features of EfficientNet-Lite0, whose
            weights the optional packages `offline` contain; 0: not needed.
        perceptual_stages: how many of that network's five stages are used, the first ones.
        perceptual_scale: how many times larger it sees the images.
        adversarial_weight: weight of a discriminator's verdict on pixels; 0: none is trained.
        feature_adversarial_weight: weight of the verdict of another one on that network's features.
        adversarial_start: share of the steps before the discriminators come in.
    """

    gradient_weight: NonNegative = 1.0
    kl_weight: NonNegative = 1e-6
    perceptual_weight: NonNegative = 0.0
    perceptual_stages: Annotated[int, Field(ge=1, le=5)] = 3
    perceptual_scale: Annotated[int, Field(ge=1, le=8)] = 1
    adversarial_weight: NonNegative = 0.0
    feature_adversarial_weight: NonNegative = 0.0
    adversarial_start: Share = 0.0


@settings
class TokenizerSettings:
    """The tokenizer, whose vocabulary follows from the captions.

    Attributes:
        model_max_length: tokens of every prompt.
    """

    model_max_length: Annotated[int, Field(ge=4, le=4096)]


@settings
class Shared:
    """What the training of every model needs.

    Attributes:
        seed: seed of the weights and the data.
        device: where to train; "auto" takes a GPU if there is one.
    """

    seed: Seed
    device: UsableDevice = field(default="auto", kw_only=True)

    def __post_init__(self) -> None:
        """Refuse more views of a panorama than it is cut into."""
        data, training = getattr(self, "data", None), getattr(self, "training", None)
        if not (isinstance(data, ViewSettings) and isinstance(training, TrainingSettings)):
            return
        if training.views_per_panorama > data.num_views:
            most = f"at most data.num_views = {data.num_views}"
            raise mistake("training.views_per_panorama", training.views_per_panorama, most)


@settings
class Reconstruction:
    """Training of an autoencoder, or of its decoder alone, to reconstruct single views.

    Attributes:
        training: how it is optimized.
        loss: weights of the loss.
    """

    training: TrainingSettings
    loss: VaeLossSettings = field(default_factory=VaeLossSettings, kw_only=True)


@settings
class Autoencoder(Reconstruction):
    """Training of the autoencoder from scratch.

    Attributes:
        model: architecture, as options of `mvdiffusion.models.patch_autoencoder`.
    """

    model: AutoencoderOptions


@settings
class Decoder(Reconstruction):
    """Fine-tuning of an autoencoder's decoder.

    Attributes:
        pixel_channels: width of a refinement of the decoded pixels that it adds; 0 for none.
        pixel_layers: ResNet blocks in it.
    """

    pixel_channels: Whole = 0
    pixel_layers: Count = 2


@settings
class ReconstructionSettings(Reconstruction, Shared):
    """What the trainings of an autoencoder and of its decoder have in common."""

    data: ViewSettings


@settings
class DecoderSettings(Decoder, ReconstructionSettings):
    """Everything that `mvdiffusion.training.vae.train_decoder` needs."""


@settings
class VaeSettings(Autoencoder, ReconstructionSettings):
    """Everything that `mvdiffusion.training.vae.train_vae` needs."""


@settings
class SingleView:
    """Training of the whole UNet on single views (paper, section 5.1).

    Attributes:
        training: how it is optimized.
        loss: weights of the loss.
    """

    training: TrainingSettings
    loss: DiffusionLossSettings = field(default_factory=DiffusionLossSettings, kw_only=True)


@settings
class Diffusion(SingleView):
    """Training of text encoder and UNet together on single views, from scratch.

    Attributes:
        tokenizer: byte-pair tokenizer, made from the captions' words.
        text_encoder: architecture, as options of `transformers.CLIPTextConfig`.
        unet: architecture, as options of `diffusers.UNet2DConditionModel`.
        scheduler: noise schedule, as options of `diffusers.DDIMScheduler`.
    """

    tokenizer: TokenizerSettings
    text_encoder: TextEncoderOptions
    unet: UNetOptions
    scheduler: SchedulerOptions


def _of_all_views(training: TrainingSettings) -> TrainingSettings:
    """Refuse some views of a sample: all of them are denoised together."""
    if (found := training.views_per_panorama) != 1:
        raise mistake("views_per_panorama", found, "1, as all views of a sample train together")
    return training


@settings
class MultiView(SingleView):
    """Training of the correspondence-aware attention alone (paper, section 4.1).

    Attributes:
        training: numbers of the training; a batch is one of samples with all of their views.
        variant: "released" computes as the authors' code, "paper" the formula as printed.
    """

    training: Annotated[TrainingSettings, AfterValidator(_of_all_views)]
    variant: Literal["released", "paper"] = field(default="released", kw_only=True)


@settings
class MultiViewRing(MultiView):
    """Training of the attention alone on panoramas.

    Attributes:
        attention: where it looks; every option that differs from its default is an ablation.
    """

    attention: AttentionSettings = field(default_factory=AttentionSettings, kw_only=True)


@settings
class Outpainting(MultiViewRing):
    """Training of the attention alone on panoramas of which some views are given.

    Attributes:
        given_view_shares: shares of the training samples of which 1, 2, … views are given, at
            places drawn at random (at most all but one); null: always view 0 alone, as in the
            authors' code.
    """

    given_view_shares: Annotated[list[Share], Field(min_length=1)] | None = field(
        default=None, kw_only=True
    )

    def __post_init__(self) -> None:
        """Refuse shares that are not of a whole."""
        shares = self.given_view_shares
        if shares is not None and abs(sum(shares) - 1) > 1e-8:
            raise mistake(
                "given_view_shares", shares, f"numbers whose sum is 1, not {sum(shares):g}"
            )


@settings
class MultiFrame(MultiView):
    """Training of attention and image-condition layers on recordings (paper, section 4.2).

    Attributes:
        interpolation_share: share of the training samples that interpolate, beside those that
            generate; the paper mixes them 1 : 1.
    """

    interpolation_share: Share = field(default=0.5, kw_only=True)


@settings
class ViewStage(SingleView, Shared):
    """Training on views of panoramas: stage 1, and the base model of outpainting."""

    data: ViewSettings

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of an image in pixels."""
        return self.data.size


@settings
class FrameStage(SingleView, Shared):
    """Training on frames of recordings: stage 1 for depth."""

    data: FrameSettings

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of an image in pixels."""
        return self.data.size


@settings
class BaseSettings(Diffusion, ViewStage):
    """Everything that `mvdiffusion.training.base.train_base` needs."""


@settings
class MultiViewSettings(MultiViewRing, ViewStage):
    """Stage 2 on panoramas."""


@settings
class OutpaintSettings(Outpainting, MultiViewSettings):
    """Stage 2 on panoramas of which some views are given."""


@settings
class MultiFrameSettings(MultiFrame, FrameStage):
    """Stage 2 on recordings."""


STAGE2_SETTINGS: dict[str, type] = {
    "panorama": MultiViewSettings,
    "outpaint": OutpaintSettings,
    "depth": MultiFrameSettings,
}
