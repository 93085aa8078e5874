"""Baseline: every view by itself, with the model that all training starts from, as it is.

It is "SD (Perspective)" as the paper's sections 5.1 and 5.3 describe it, "the original stable
diffusion"; in the miniature it is the base that takes Stable Diffusion's place, which knows no
depth: there the frames of a walk follow from their captions alone.
"""

from mvdiffusion.methods.declaration import Method
from mvdiffusion.methods.independent import depth as depth
from mvdiffusion.methods.independent import panorama as panorama
from mvdiffusion.tasks import Task

METHOD = Method(
    "independent_base",
    "Independent views, base model",
    (Task.PANORAMA, Task.DEPTH),
    model="base",
    place=50,
    published="SD (Perspective)",
    color="#b79ad0",
)
