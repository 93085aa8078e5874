"""What a kernel of correspondence-aware attention is given, and what it has to compute."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """Where the N tokens of each of M cells are, and what their position codes encode.

    A code is made of sines and cosines of displacements times bands, in float32: of sin x, sin y,
    cos x and cos y of every band, or, where `cosine` is given, of either sines or cosines of x, y.

    Attributes:
        index: the four rows of the features around every token, [M, N, 4], int32.
        weight: what each contributes, [M, N, 4]; zero outside the image and where not valid.
        displacement: x and y, [M, N, 2], float32.
        valid: which tokens have a code, [M, N].
        counted: which take part in the softmax, [M, N]; None if all do.
        cosine: whose code is of cosines alone, the others' being of sines, [M, N]; or None.
    """

    index: Tensor
    weight: Tensor
    displacement: Tensor
    valid: Tensor
    counted: Tensor | None = None
    cosine: Tensor | None = None

    def part(self, start: int, stop: int) -> Tokens:
        """Return the tokens of the cells from `start` up to `stop`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        chosen: dict[str, Any] = {
            name: None if value is None else value[start:stop] for name, value in values.items()
        }
        return Tokens(**chosen)

    def code(self, bands: Tensor) -> Tensor:
        """Position codes, [M, N, C], zero where not valid (paper, section 4.1, γ).

        Args:
            bands: angular frequencies, [C / 4], or [C / 2] where `cosine` is given.
        """
        angles = self.displacement[..., None] * bands
        if self.cosine is None:
            code = torch.cat([angles.sin(), angles.cos()], -2).flatten(-2)
        else:
            angles = angles.flatten(-2)
            code = torch.where(self.cosine[..., None], angles.cos(), angles.sin())
        return code.masked_fill(~self.valid[..., None], 0.0)


@dataclass(frozen=True)
class Norm:
    """The layer norm of tokens."""

    weight: Tensor
    bias: Tensor
    eps: float


class Core(Protocol):
    """What reads the tokens of a block of cells: PyTorch, or a kernel of its own.

    Attributes:
        name: as the provenance of results has it.
    """

    name: str

    def bytes_per_cell(self, tokens: int, channels: int, backward: bool) -> int:
        """Memory that each cell of a block takes, for one sample."""

    def read(
        self,
        query: Tensor,
        features: Tensor,
        tokens: Tokens,
        bands: Tensor,
        norm: Norm | None,
        scale: float,
    ) -> Tensor:
        """Let H heads of M cells read their tokens; softmax and its scores in float32 at least.

        Args:
            query: [R, M, H, C], of R samples with the same cameras.
            features: [R, L, C].
            tokens: of the cells.
            bands: of the position code, see `Tokens.code`.
            norm: of the tokens after their code is added; None: not normalized.
            scale: factor of the scores.

        Returns:
            The weighted sums of tokens [R, M, H, C]; zero for cells of which no token counts.
        """

    def read_backward(
        self,
        gradient: Tensor,
        query: Tensor,
        features: Tensor,
        tokens: Tokens,
        bands: Tensor,
        norm: Norm | None,
        scale: float,
        summed: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of `read`, always in the same order of sums.

        Args:
            gradient: of the result.
            query, features, tokens, bands, norm, scale: as given to `read`.
            summed: the gradient of the features is added to it, [R, L, C].

        Returns:
            Gradients of the query, and of the norm's weight and bias [2, C], zero without a norm;
            and what `read` returns, which is made on the way.
        """
