"""The feature cache on disk: rows of numbers under the hash of what they were computed from.

It is a folder of shards, safetensors files named by the hash of their own bytes. Shards are written
whole and never changed, so that any number of processes may share a folder; a shard that is cut
short or altered does not match its name and is passed over.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from mvdiffusion.records import InputError, atomic_output, sha256_file


class Shards:
    """One extractor's outputs by key (64 hex digits); memory holds only where each row lies."""

    def __init__(self, folder: Path, kept_by: object = None) -> None:
        """Name the folder; it is read when first needed and created by the first `put`.

        Args:
            folder: folder of the shards.
            kept_by: object that deletes a temporary folder with itself; held so that it does not.
        """
        self.folder = folder
        self.kept_by = kept_by

    @cached_property
    def _places(self) -> dict[bytes, tuple[str, int]]:
        places: dict[bytes, tuple[str, int]] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            with suppress(OSError):  # what cannot be read is computed again
                if sha256_file(path) == path.stem:
                    with safe_open(path, "pt") as shard:
                        self._enter(places, path.stem, shard.get_tensor("keys").numpy())
        return places

    @staticmethod
    def _enter(places: dict[bytes, tuple[str, int]], shard: str, keys: np.ndarray) -> None:
        for row, key in enumerate(keys):
            places.setdefault(key.tobytes(), (shard, row))

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key) in self._places

    def put(self, keys: Sequence[str], outputs: Mapping[str, Tensor]) -> None:
        """Add rows: `outputs` holds tensors [len(keys), …].

        Raises:
            InputError: the folder cannot be written.
        """
        digests = np.stack([np.frombuffer(bytes.fromhex(key), np.uint8) for key in keys])
        content = save({"keys": torch.from_numpy(digests), **outputs})
        name = hashlib.sha256(content).hexdigest()
        places = self._places  # read before the new shard is there
        with atomic_output(self.folder / f"{name}.safetensors") as temporary:
            temporary.write_bytes(content)
        self._enter(places, name, digests)

    def rows(self, keys: Sequence[str], name: str) -> Tensor:
        """Read the rows [len(keys), …] of an output, in the order of the keys.

        Raises:
            KeyError: a key is not there.
            InputError: a shard was deleted since the folder was first read.
        """
        wanted: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for position, key in enumerate(keys):
            shard, row = self._places[bytes.fromhex(key)]
            wanted[shard].append((row, position))
        parts, positions = [], []
        for shard, pairs in wanted.items():
            rows, at = np.array(sorted(pairs)).T
            parts.append(self._read(shard, rows, name))
            positions.append(at)
        order = np.argsort(np.concatenate(positions))
        return torch.cat(parts)[torch.from_numpy(order)]

    def _read(self, shard: str, rows: np.ndarray, name: str) -> Tensor:
        """Rising rows of one shard, and no more of it than they take."""
        path = self.folder / f"{shard}.safetensors"
        runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
        try:
            with safe_open(path, "pt") as file:
                output = file.get_slice(name)
                return torch.cat([output[int(run[0]) : int(run[-1]) + 1] for run in runs])
        except OSError as error:
            raise InputError(
                f"{path}: could not be read again ({error}); do not change the cache while it is "
                "in use, and run the same command again."
            ) from None
