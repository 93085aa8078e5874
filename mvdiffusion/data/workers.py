"""Processes that load data beside a training."""

from __future__ import annotations

import os
import sys
from multiprocessing.queues import Queue
from typing import Any


def end_if_unable_to_send(worker: int) -> None:
    """Let a process that cannot hand on what it has loaded end; `worker_init_fn` of `DataLoader`.

    Loaded tensors go through shared memory. Where that is full, or the size of files limited, the
    process would print a traceback, drop the batch and live on, and the training wait for it
    forever. That a process has ended, `DataLoader` notices.

    Args:
        worker: number of the process.
    """
    handler: Any = staticmethod(_end)
    Queue._on_queue_feeder_error = handler  # type: ignore[attr-defined]


def _end(error: Exception, _batch: object) -> None:
    print(
        f"loaded data could not be handed on ({error}); allow more shared memory (/dev/shm) or "
        "larger files, or load in the same process (num_workers: 0)",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)
