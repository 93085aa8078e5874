"""Settings of the trainings of baselines, and of all that can make a method's own model."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path

from mvdiffusion.settings import LearningRate, mistake, settings
from mvdiffusion.training.settings import STAGE2_SETTINGS, FrameStage, SingleView, ViewStage


@settings
class PanoramaStage(ViewStage):
    """Training on whole panoramas, equirectangular images as high as a view and twice as wide.

    Attributes:
        circular_padding: let convolutions look across the left and right edges. Without it, as in
            the paper, a seam is left there.
    """

    circular_padding: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse several views of a panorama, which is one image here."""
        if (found := self.training.views_per_panorama) != 1:
            raise mistake("training.views_per_panorama", found, "1, as a panorama is one image")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of an image in pixels."""
        return self.data.image_size, 2 * self.data.image_size


@settings
class Controlled(SingleView):
    """Training of a ControlNet on depth beside an inpainting model (paper, section 5.2).

    Attributes:
        train_unet: whether the inpainting UNet is fine-tuned with it, as in the paper's appendix.
        unet_learning_rate: highest learning rate of the UNet, whose schedule is that of `training`
            times a number; null: the same.
        pretrained: the ControlNet to start from, a folder or OWNER/NAME@REVISION of the Hugging
            Face hub; null: made of the UNet's encoder.
    """

    train_unet: bool = field(default=True, kw_only=True)
    unet_learning_rate: LearningRate | None = field(default=None, kw_only=True)
    pretrained: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse a rate of what does not train, and a model of the hub that could change."""
        if self.unet_learning_rate is not None and not self.train_unet:
            raise mistake("unet_learning_rate", self.unet_learning_rate, "null without train_unet")
        name = self.pretrained
        if name is not None and "@" not in name and not Path(name).is_dir():
            raise mistake("pretrained", name, "a folder that is there, or OWNER/NAME@REVISION")


@settings
class ControlNetSettings(Controlled, FrameStage):
    """Everything that `train_controlnet` of this package needs."""


METHOD_TRAININGS: dict[str, dict[str, type]] = {
    "controlnet": {"depth": ControlNetSettings},
    "stage1": {"panorama": ViewStage, "depth": FrameStage},
    "panorama-finetune": {"panorama": PanoramaStage},
    "stage2": STAGE2_SETTINGS,
}
"""Settings by task of the commands, `mvdiffusion train …`, that can make a method's own model.

Its function `train_…` is in `mvdiffusion.cli.train`, and what it runs in the module of its name in
this package or, for stages of the paper's method, in `mvdiffusion.training`. It has an option
`--task` if there is more than one task.
"""
