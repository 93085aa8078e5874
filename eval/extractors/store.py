"""Features of images: each image is decoded once and runs once through each extractor.

FID, Inception score, KID, CLIP score and all other metrics of images read the features from here.
They lie on disk, never all in memory: in a cache folder they also serve later runs, so that a new
method or protocol costs only what is new.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from mvdiffusion.records import InputError, settings_sha256

from ..folders.samples import SampleFolder
from .base import Extractor, SimilarityExtractor, described, extractor_sha256
from .shards import Shards

BATCH = 32
"""Images per pass, unless stated otherwise. The last batch is filled up with repetitions: an
image's features are then the same to the last bit whatever else is computed with it. Batches of
another size may change the last bits, so that their features are kept apart."""
SHARD = 256
"""Images per file of the cache, which is also the most that a killed run loses."""
BLOCK = 1024
"""Images whose features are in memory at a time."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class FeatureSet:
    """Features of a folder's evaluated views by one extractor, in the order of samples and views.

    Attributes:
        keys: of each image.
        sample_of: number of the sample that each image belongs to [N].
    """

    shards: Shards
    keys: tuple[str, ...]
    sample_of: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)

    def rows(self, images: np.ndarray, name: str = "features") -> Tensor:
        """Features (or "logits") [len(images), D] of some images by number, float64.

        Args:
            images: their numbers.
            name: "features" or "logits".
        """
        return self.shards.rows([self.keys[image] for image in images], name).double()

    def blocks(self, samples: np.ndarray | None = None) -> Iterator[Tensor]:
        """Go through the features of some samples, or of all, at most `BLOCK` images at a time."""
        for images in self.block_images(samples):
            yield self.rows(images)

    def block_images(self, samples: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """Numbers of the images in each of `blocks`."""
        images = np.arange(len(self))
        if samples is not None:
            images = images[np.isin(self.sample_of, samples)]
        for start in range(0, len(images), BLOCK):
            yield images[start : start + BLOCK]


class FeatureStore:
    """Features by image and extractor.

    Args:
        cache: feature cache, a folder that keeps them for later runs; without one they are deleted
            with the store.
        batch_size: images per pass.

    Raises:
        InputError: the cache folder cannot be created.
    """

    def __init__(self, cache: str | Path | None = None, batch_size: int = BATCH) -> None:
        self.batch_size = batch_size
        self._cache = Path(cache) if cache is not None else None
        self._temporary: tempfile.TemporaryDirectory | None = None
        if self._cache is not None:
            try:
                self._cache.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(
                    f"--cache {cache}: the folder cannot be created ({error.strerror}); choose "
                    "another."
                ) from None
        self._shards: dict[str, Shards] = {}
        self._keys: dict[int, tuple[SampleFolder, list[list[str]]]] = {}

    @cached_property
    def root(self) -> Path:
        """Folder of the feature cache; without one, a temporary one."""
        if self._cache is not None:
            return self._cache
        self._temporary = tempfile.TemporaryDirectory(prefix="mvdiffusion-eval-")
        return Path(self._temporary.name)

    def features(self, folder: SampleFolder, extractor: Extractor) -> FeatureSet:
        """Features of the evaluated views of every sample; computes those that are not there.

        Raises:
            InputError: an image cannot be read.
        """
        self.add(folder, [extractor])
        keys = self._keys_of(folder)
        sample_of = np.repeat(np.arange(len(keys)), [len(own) for own in keys])
        return FeatureSet(
            self._shards_of(extractor), tuple(k for own in keys for k in own), sample_of
        )

    def add(self, folder: SampleFolder, extractors: Sequence[Extractor]) -> None:
        """Compute what is not there yet for any of the extractors; decodes each image once.

        Raises:
            InputError: an image cannot be read.
        """
        keys = self._keys_of(folder)
        queues = [
            _Queue(extractor, self._shards_of(extractor), keys, self.batch_size)
            for extractor in extractors
        ]
        lacking: set[str] = set().union(*(queue.lacking for queue in queues))
        jobs = list(_jobs(folder, keys, lacking))
        bar = tqdm(total=len(lacking), unit="image", disable=None if lacking else True)
        bar.set_description(f"{folder.method}: features")
        with bar:
            for (_, _, own), views in ahead(lambda job: folder.views(*job[:2]), jobs):
                for queue in queues:
                    queue.add(own, views)
                bar.update(len(own))
        for queue in queues:
            queue.finish()

    def texts(self, extractor: SimilarityExtractor, prompts: Sequence[str]) -> FeatureSet:
        """Embeddings of prompts by a CLIP; each different one is encoded once.

        Args:
            extractor: the CLIP.
            prompts: N texts, some perhaps equal.

        Returns:
            Embeddings of the N texts, in order.
        """
        shards = self._shards_of(extractor, "texts")
        keys = [hashlib.sha256(prompt.encode()).hexdigest() for prompt in prompts]
        new = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in shards}
        for start in range(0, len(new), self.batch_size):
            part = list(new)[start : start + self.batch_size]
            batch = _filled([new[key] for key in part], self.batch_size)
            embeddings = extractor.outputs_of_texts(batch)
            shards.put(part, {"features": embeddings[: len(part)]})
        return FeatureSet(shards, tuple(keys), np.arange(len(keys)))

    def _shards_of(self, extractor: Extractor, of: str = "images") -> Shards:
        # Within one run the code cannot change, and hashing it needs the extra's grimp.
        kept = self._cache is not None
        digest = extractor_sha256(extractor) if kept else settings_sha256(described(extractor))
        name = f"{extractor.identity.name}-{digest[:32]}"
        if self.batch_size != BATCH and extractor.in_batches:
            name += f"-batches-of-{self.batch_size}"
        path = self.root / name / of
        return self._shards.setdefault(f"{name}/{of}", Shards(path, self._temporary))

    def _keys_of(self, folder: SampleFolder) -> list[list[str]]:
        """Content hashes of the evaluated views of each sample."""
        if id(folder) not in self._keys:
            keys = []
            for sample_id in folder.sample_ids:
                digests = folder.view_digests(sample_id)
                keys.append([digests[view] for view in folder.evaluated_views(sample_id)])
            self._keys[id(folder)] = folder, keys  # the folder too: its id must stay its own
        return self._keys[id(folder)][1]


class _Queue:
    """Images on their way through one extractor to its shards."""

    def __init__(
        self, extractor: Extractor, shards: Shards, keys: list[list[str]], batch_size: int
    ) -> None:
        self.extractor, self.shards, self.batch_size = extractor, shards, batch_size
        self.lacking = {key for own in keys for key in own if key not in shards}
        self._waiting: list[tuple[str, np.ndarray]] = []
        self._done: list[tuple[list[str], dict[str, Tensor]]] = []

    def add(self, keys: Sequence[str], views: np.ndarray) -> None:
        """Take the images that this extractor lacks; run it once a batch is full."""
        for key, view in zip(keys, views, strict=True):
            if key in self.lacking:
                self._waiting.append((key, view))
            if len(self._waiting) == self.batch_size:
                self._run()

    def finish(self) -> None:
        """Run what waits and write what was not written."""
        self._run()
        self._write()

    def _run(self) -> None:
        if self._waiting:
            keys, views = zip(*self._waiting, strict=True)
            batch = _filled(views, self.batch_size) if self.extractor.in_batches else views
            outputs = self.extractor.outputs(np.stack(batch))
            self._done.append((list(keys), {n: t[: len(keys)] for n, t in outputs.items()}))
            self._waiting = []
        if len(self._done) * self.batch_size >= SHARD:
            self._write()

    def _write(self) -> None:
        if self._done:
            keys = [key for own, _ in self._done for key in own]
            names = self._done[0][1]
            parts = {name: [outputs[name] for _, outputs in self._done] for name in names}
            self.shards.put(keys, {name: torch.cat(part) for name, part in parts.items()})
            self._done = []


def _filled(batch: Sequence[Item], size: int) -> list[Item]:
    return [*batch, *[batch[-1]] * (size - len(batch))]


def _jobs(
    folder: SampleFolder, keys: list[list[str]], lacking: set[str]
) -> Iterator[tuple[str, list[int], list[str]]]:
    """Samples with the views and keys to be decoded; of equal images only the first."""
    left = set(lacking)
    for sample_id, own in zip(folder.sample_ids, keys, strict=True):
        new = {
            k: view
            for k, view in zip(own, folder.evaluated_views(sample_id), strict=True)
            if k in left
        }
        left.difference_update(new)
        if new:
            yield sample_id, list(new.values()), list(new)


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[tuple[Item, Result]]:
    """Results in order, computed by threads a few items ahead of their use.

    Args:
        function: what is computed, as decoding an image.
        items: its arguments.

    Yields:
        Each item with its result.
    """
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        pending: deque = deque()
        for item in items:
            pending.append((item, pool.submit(function, item)))
            if len(pending) > 2 * workers:
                first, future = pending.popleft()
                yield first, future.result()
        for first, future in pending:
            yield first, future.result()
