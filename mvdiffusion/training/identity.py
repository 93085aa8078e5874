"""What decides the weights of a training run, and what does not.

The command line binds checkpoints and models to it, the workflow the digests of its steps; so
neither throws away, over a setting of no meaning to the weights, what took days to train.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
