"""MVDiffusion with one thing changed: what each part of the attention between views is worth.

All start from the same single-view model, and each trains its own attention, for as many steps as
the reference: the changed thing is there in training and in sampling. `wrong_correspondence` is
another question, a control: what mirrored cameras do to the model that was trained with right ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mvdiffusion.methods.declaration import Method, Training
from mvdiffusion.tasks import Task

if TYPE_CHECKING:
    from torch import Tensor

    from mvdiffusion.methods.base import Batch


def panorama(batch: Batch) -> Tensor:
    """Generate all views together, with the ablation's own attention."""
    return batch.panorama()


def _ablation(name: str, title: str, place: int, **changes: Any) -> Method:
    """Declare an ablation.

    Args:
        name: of the method, and of its model.
        title: what differs from the reference.
        place: in the table.
        changes: settings of stage 2; all but `variant` are those of the attention.
    """
    variant = {"variant": changes.pop("variant")} if "variant" in changes else {}
    return Method(
        name,
        title,
        (Task.PANORAMA,),
        role="ablation",
        model=name,
        training=Training(
            "stage2", changes={**variant, "attention": changes} if changes else variant
        ),
        place=place,
    )


# Each is named after what it has: which of them differ from the reference is up to its own formula.
RELEASED = _ablation("ablation_released", "formula of the released code", 210, variant="released")
PAPER = _ablation("ablation_paper", "formula and masks of the paper", 211, variant="paper")
ZEROED = _ablation("ablation_zeroed", "tokens outside zeroed", 212, outside="zeroed")
MASKED = _ablation("ablation_masked", "tokens outside masked", 213, outside="masked")
ONE_CELL = _ablation("ablation_one_cell", "1 × 1 cells (K = 1)", 214, neighborhood=1)
FIVE_CELLS = _ablation("ablation_five_cells", "5 × 5 cells (K = 5)", 215, neighborhood=5)
OVERLAPPING = _ablation("ablation_overlapping", "all overlapping views", 216, targets="overlapping")
OPEN_LOOP = _ablation("ablation_open_loop", "no loop closure", 217, closed_loop=False)
NO_MIDDLE = _ablation(
    "ablation_no_middle", "no attention in the middle block", 218, blocks="no_middle"
)
DECODER = _ablation("ablation_decoder", "attention in the decoder alone", 219, blocks="decoder")
FULL = _ablation(
    "ablation_full_attention", "full cross-view attention", 220, correspondences="none"
)
WRONG = _ablation(
    "ablation_wrong_correspondence",
    "trained with wrong correspondences",
    221,
    correspondences="mirrored",
)
