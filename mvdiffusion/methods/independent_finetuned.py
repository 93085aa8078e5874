"""Baseline: every view by itself, with a base that was fine-tuned on single views for this alone.

It is "SD (Perspective)" as the paper's appendix B.2 describes it, where MVDiffusion starts from the
base as it is (`stage1: null`); with a stage 1, `independent` is the same method.
"""

from mvdiffusion.methods.declaration import Method, Training
from mvdiffusion.methods.independent import panorama as panorama
from mvdiffusion.tasks import Task

METHOD = Method(
    "independent_finetuned",
    "Independent views, fine-tuned",
    (Task.PANORAMA,),
    model="independent_finetuned",
    training=Training("stage1", start="base"),
    place=55,
    published="SD (Perspective)",
    color="#6f4a94",
)
