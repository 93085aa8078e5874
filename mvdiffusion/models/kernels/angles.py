"""Angles of any size, in turns: what kernels need for sines that are exact for all of them.

A float32 is an integer of 24 bits times a power of two, so that one product with what that power is
in turns, without the whole ones, tells its place on the circle (Payne and Hanek, 1983).
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


@cache
def turns_of_exponents(device: torch.device | None = None) -> Tensor:
    """The fractional part of 2^(e - 150) / 2π for e = 0 … 255, in units of 2^-64, as int64.

    An angle of exponent e is its mantissa, with the leading one, times 2^(e - 150).

    Args:
        device: device of the result; it is made once for each.
    """
    bits = 320
    one = 1 << bits
    # Machin's formula.
    pi = 4 * (4 * _arctangent_of_inverse(5, one) - _arctangent_of_inverse(239, one))
    per_radian = (one << bits) // (2 * pi)
    turns = [(per_radian >> bits - 64 + 150 - e) % (1 << 64) for e in range(256)]
    return torch.tensor([t - (1 << 64) if t >> 63 else t for t in turns], device=device)


def _arctangent_of_inverse(x: int, one: int) -> int:
    power, total, n = one // x, 0, 1
    while power:
        total += (power // n) * (1 if n % 4 == 1 else -1)
        power, n = power // (x * x), n + 2
    return total
