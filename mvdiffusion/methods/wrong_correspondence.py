"""Control: MVDiffusion with the mirror image of the right cameras.

Every view still attends to its neighbors, but at places that do not correspond. If consistency did
not suffer, it would not come from the correspondences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mvdiffusion.methods.declaration import Method
from mvdiffusion.tasks import Task

if TYPE_CHECKING:
    from torch import Tensor

    from mvdiffusion.methods.base import Batch

METHOD = Method(
    "wrong_correspondence",
    "CAA, wrong correspondences",
    (Task.PANORAMA, Task.DEPTH),
    role="control",
    model="multi-view",
    place=300,
    color="#b0413e",
)


def panorama(batch: Batch) -> Tensor:
    """Turn the cameras to the left while the prompts go to the right."""
    from mvdiffusion.geometry.cameras import panorama_cameras

    views, fov_deg = batch.noise.shape[1], batch.dataset.fov_deg
    K, R = panorama_cameras(num_views=views, fov_deg=fov_deg, **batch.size)
    return batch.panorama(K=K, R=R.mT.contiguous())  # the inverse turns: yaw → −yaw


def depth(batch: Batch) -> Tensor:
    """Turn and move the camera to the left where it turned and moved to the right."""
    import torch

    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0]))
    pose = mirror @ batch.stack("pose").float() @ mirror
    return batch.depth(key_frames=batch.key_frames, pose=pose)
