"""Where attention between the views of a panorama looks: the options of its ablations.

In a file of its own, as the networks and the settings of their training both need it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any, Literal

from mvdiffusion.settings import mistake, settings

CHOSEN_BY_VARIANT = {
    "released": {"targets": "neighbors", "outside": "zeroed"},
    "paper": {"targets": "overlapping", "outside": "masked"},
}


@settings
class AttentionSettings:
    """Where the cells of a view look; the defaults are the method's own.

    Attributes:
        correspondences: "cameras": at the places that the cameras tell (paper, section 4.1);
            "mirrored": at those of the mirrored cameras, which correspond to nothing; "none": at
            all cells of all views, whatever the cameras.
        neighborhood: width and height in cells of what is seen around a place, the paper's K.
        targets: "neighbors": the views before and after, around the circle; "overlapping": every
            view that shares pixels; null: the former with the variant "released", else the latter.
        outside: tokens outside their target's image are "zeroed", zero vectors that keep their
            share of the softmax, or "masked" out of it; null: the former with the variant
            "released", else the latter.
        closed_loop: whether pairs of views across the end of the list, such as the last and the
            first view, see each other.
        blocks: blocks of the UNet that are followed by attention: "all", all but the middle one
            ("no_middle"), or those of the "decoder" alone.
    """

    correspondences: Literal["cameras", "mirrored", "none"] = "cameras"
    neighborhood: Literal[1, 3, 5] = 3
    targets: Literal["neighbors", "overlapping"] | None = None
    outside: Literal["zeroed", "masked"] | None = None
    closed_loop: bool = True
    blocks: Literal["all", "no_middle", "decoder"] = "all"

    def __post_init__(self) -> None:
        """Refuse options of correspondences where there are none."""
        if self.correspondences == "none":
            for key in ("neighborhood", "targets", "outside", "closed_loop"):
                if (value := getattr(self, key)) != (default := type(self).__dict__[key]):
                    because = "as correspondences is 'none'"
                    raise mistake(key, value, f"{json.dumps(default)}, {because}")

    def changes(self) -> dict[str, Any]:
        """Options that differ from the defaults, as a model's configuration holds them."""
        default = asdict(type(self)())
        return {key: value for key, value in asdict(self).items() if value != default[key]}

    def with_variant(self, variant: str) -> AttentionSettings:
        """Fill in what the variant of the attention's formula decides.

        Args:
            variant: "released" or "paper".
        """
        if self.correspondences == "none":
            return self
        chosen = CHOSEN_BY_VARIANT[variant]
        return replace(
            self,
            targets=self.targets or chosen["targets"],  # type: ignore[arg-type]
            outside=self.outside or chosen["outside"],  # type: ignore[arg-type]
        )
