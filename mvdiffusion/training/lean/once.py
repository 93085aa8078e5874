"""What a frozen network makes of an image or a caption, computed once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

LIMIT_BYTES = 256 * 2**20  # of results that are kept
AT_ONCE = 8  # rows; always as many, so that a result does not depend on what else is computed


class ComputedOnce:
    """A function of each row of a tensor that keeps its results, by the rows' content.

    A training meets the same captions in every epoch, and the same frames of recordings. The first
    results are kept until `limit_bytes` are reached, as in epochs of random order what was met last
    is not what is met next. They go with the process: a resumed training computes them anew, the
    same bit for bit.
    """

    def __init__(
        self, function: Callable[[Tensor], Tensor], limit_bytes: int = LIMIT_BYTES
    ) -> None:
        """Keep what `function` computes.

        Args:
            function: of rows [N, ...], each of which decides its own result [N, ...] alone. No
                gradient passes it, and nothing that it depends on trains.
            limit_bytes: of the results kept.
        """
        self.function, self.room = function, limit_bytes
        self._kept: dict[tuple[bytes, torch.dtype | None], Tensor] = {}

    @torch.no_grad()
    def __call__(self, rows: Tensor) -> Tensor:
        """Return the function of every row."""
        kind = rows.device.type
        precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        keys = [(_digest(row), precision) for row in rows.cpu()]
        places = {key: place for place, key in enumerate(keys)}
        found = {key: self._kept[key] for key in places if key in self._kept}
        missing = [key for key in places if key not in found]
        for start in range(0, len(missing), AT_ONCE):
            part = missing[start : start + AT_ONCE]
            filled = [places[key] for key in part] + [places[part[0]]] * (AT_ONCE - len(part))
            for key, result in zip(part, self.function(rows[filled]), strict=False):
                found[key] = result
                if self.room >= result.nbytes:
                    self.room -= result.nbytes
                    self._kept[key] = result.clone()
        return torch.stack([found[key] for key in keys])


def _digest(row: Tensor) -> bytes:
    row = row + 0  # no negative zeros, which a mask makes of negative values
    return hashlib.sha256(row.contiguous().view(torch.uint8).numpy().data).digest()
