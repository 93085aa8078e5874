"""How many processes an experiment gives to its jobs."""

from __future__ import annotations

from mvdiffusion.settings import Count, settings


@settings
class Processes:
    """How many processes share the work of one job, each with a GPU of its own if there are GPUs.

    They decide no result.

    Attributes:
        training: of each model; they divide each batch between them.
        generation: of the images of each method.
        scoring: of the features of each folder that is scored.
    """

    training: Count = 1
    generation: Count = 1
    scoring: Count = 1
