"""What `triton_core` runs on a GPU, in Triton's language.

Names: `m` is a query, `r` a sample, `n` a token; R, M, N and L count samples, queries, their
tokens, and the cells of a sample. Compiled in are the numbers of heads H, channels C and bands B of
the position code, the C / B parts of which have B channels each; and how many at once: HB heads, NB
tokens, BB bands, RB samples.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl


class Tokens(NamedTuple):
    """Where kernels find what tokens are made of; what is None costs nothing."""

    features: Any  # [R, L, C]
    index: Any  # [M, N, 4]
    weight: Any  # [M, N, 4]
    displacement: Any  # [M, N, 2]
    valid: Any  # [M, N]
    counted: Any  # [M, N] or None
    cosine: Any  # [M, N] or None
    bands: Any  # [B]
    turns: Any  # see `angles`, [256]
    gain: Any  # weight and bias of the norm, [C] or None
    bias: Any


@triton.jit
def _corners(tokens, m, n, r, N, L, C: tl.constexpr):
    """Where the four cells around tokens begin in memory, and their weights."""
    at = (m * N + n) * 4
    within = n < N
    first = r.to(tl.int64) * L
    i0 = (first + tl.load(tokens.index + at, within, 0)) * C
    i1 = (first + tl.load(tokens.index + at + 1, within, 0)) * C
    i2 = (first + tl.load(tokens.index + at + 2, within, 0)) * C
    i3 = (first + tl.load(tokens.index + at + 3, within, 0)) * C
    w0 = tl.load(tokens.weight + at, within, 0.0)
    w1 = tl.load(tokens.weight + at + 1, within, 0.0)
    w2 = tl.load(tokens.weight + at + 2, within, 0.0)
    w3 = tl.load(tokens.weight + at + 3, within, 0.0)
    return (i0, i1, i2, i3), (w0, w1, w2, w3)


@triton.jit
def _points(tokens, m, n, N):
    """What codes of tokens depend on: two numbers, whether they are valid, and of cosines."""
    at = m * N + n
    within = n < N
    valid = tl.load(tokens.valid + at, within, 0) != 0
    cosine = valid
    if tokens.cosine is not None:
        cosine = tl.load(tokens.cosine + at, within, 0) != 0
    # Where none is valid, no sine of a large number need be found.
    x = tl.load(tokens.displacement + at * 2, valid, 0.0)
    y = tl.load(tokens.displacement + at * 2 + 1, valid, 0.0)
    return x, y, valid, cosine


@triton.jit
def _wave(turns, angle, quarters):
    """Sine of an angle plus quarters of a turn, to 1e-7 however large the angle is.

    See `angles`. CUDA's own sine multiplies word by word where an angle is large, as most of the
    released code's are.
    """
    bits = angle.to(tl.int32, bitcast=True)
    exponent = (bits >> 23) & 255
    mantissa = ((bits & 0x7FFFFF) | 0x800000).to(tl.int64)
    turn = ((mantissa * tl.load(turns + exponent)) >> 32).to(tl.int32)
    turn = tl.where(bits < 0, -turn, turn)
    # The nearest quarter, and what is left, within an eighth of a turn on either side.
    quarter = (turn + 0x20000000) >> 30
    rest = (turn - (quarter << 30)).to(tl.float32) * 1.4629180792671596e-9  # 2 pi / 2**32
    square = rest * rest
    # The series, to terms that are below rounding there.
    sine = 2.7557319e-6 * square - 1.9841270e-4
    sine = (sine * square + 8.3333333e-3) * square - 0.16666667
    sine = sine * square * rest + rest
    cosine = 2.4801587e-5 * square - 1.3888889e-3
    cosine = ((cosine * square + 4.1666667e-2) * square - 0.5) * square + 1
    quarter += quarters
    value = tl.where(quarter & 1 != 0, cosine, sine)
    return tl.where(quarter & 2 != 0, -value, value)


@triton.jit
def _code(
    tokens, points, first, PART: tl.constexpr, B: tl.constexpr, NB: tl.constexpr, BB: tl.constexpr
):
    """Some channels of tokens' position codes, [NB, BB]."""
    band = first + tl.arange(0, BB)
    wave = tl.load(tokens.bands + band, band < B, 0.0)
    x, y, valid, cosine = points
    if PART % 2 == 0:
        angle = x[:, None] * wave[None, :]
    else:
        angle = y[:, None] * wave[None, :]
    if tokens.cosine is None:
        code = _wave(tokens.turns, angle, PART // 2)
    else:
        code = _wave(tokens.turns, angle, cosine.to(tl.int32)[:, None])
    return tl.where(valid[:, None] & (band < B)[None, :], code, 0.0)


@triton.jit
def _tile(
    tokens, corners, points, first,
    PART: tl.constexpr, B: tl.constexpr, NB: tl.constexpr, BB: tl.constexpr, RB: tl.constexpr,
):  # fmt: skip
    """Some channels of tokens of RB samples before the norm, [RB * NB, BB]."""
    tile = _code(tokens, points, first, PART, B, NB, BB)
    if RB > 1:
        tile = tl.reshape(tl.broadcast_to(tile[None, :, :], (RB, NB, BB)), (RB * NB, BB))
    band = first + tl.arange(0, BB)
    channel = PART * B + band
    begins, weights = corners
    for i in tl.static_range(4):
        wanted = (weights[i] != 0)[:, None] & (band < B)[None, :]
        cell = tl.load(tokens.features + begins[i][:, None] + channel[None, :], wanted, 0.0)
        tile += weights[i][:, None] * cell.to(tl.float32)
    return tile


@triton.jit
def _channels(values, first, PART: tl.constexpr, B: tl.constexpr, BB: tl.constexpr):
    """Some channels of a vector [C]."""
    band = first + tl.arange(0, BB)
    return tl.load(values + PART * B + band, band < B, 0.0).to(tl.float32)


@triton.jit
def _rows(values, at, within, first, PART: tl.constexpr, B: tl.constexpr, BB: tl.constexpr):
    """Some channels of rows that begin at `at`, [rows, BB]."""
    band = first + tl.arange(0, BB)
    place = at[:, None] + PART * B + band[None, :]
    return tl.load(values + place, within[:, None] & (band < B)[None, :], 0.0)


@triton.jit
def _keep(values, at, within, first, tile, PART: tl.constexpr, B: tl.constexpr, BB: tl.constexpr):
    """Store what `_rows` would read."""
    band = first + tl.arange(0, BB)
    place = at[:, None] + PART * B + band[None, :]
    kept = tile.to(values.dtype.element_ty)
    tl.store(values + place, kept, within[:, None] & (band < B)[None, :])


@triton.jit
def _add(values, start, first, found, PART: tl.constexpr, B: tl.constexpr, BB: tl.constexpr):
    """Store some channels of a vector [C]; with `start`, add them to what is there."""
    band = first + tl.arange(0, BB)
    if start > 0:
        found += _channels(values, first, PART, B, BB)
    tl.store(values + PART * B + band, found, band < B)


@triton.jit
def _moments(total, squares, epsilon, C: tl.constexpr):
    """Mean and reciprocal standard deviation over channels, of sums over them."""
    mean = total / C
    variance = tl.maximum(squares / C - mean * mean, 0.0)
    return mean, 1 / tl.sqrt(variance + epsilon)


@triton.jit
def read(
    query, out, tokens, R, M, N, L, scale, epsilon,
    H: tl.constexpr, C: tl.constexpr, B: tl.constexpr,
    HB: tl.constexpr, NB: tl.constexpr, BB: tl.constexpr, RB: tl.constexpr,
):  # fmt: skip
    """Attention of query m of RB samples; the grid is M by R / RB.

    Rows are heads of RB samples, columns tokens of RB samples, and each row attends to the columns
    of its own sample.
    """
    m = tl.program_id(0).to(tl.int64)
    row, column = tl.arange(0, RB * HB), tl.arange(0, RB * NB)
    row_r = tl.program_id(1) * RB + row // HB
    column_r = tl.program_id(1) * RB + column // NB
    row_in = (row_r < R) & (row % HB < H)
    row_at = ((row_r * M + m) * H + row % HB) * C
    exact: tl.constexpr = tokens.features.dtype.element_ty
    highest = tl.full([RB * HB], -float("inf"), tl.float32)
    total = tl.zeros([RB * HB], tl.float32)
    for start in range(0, N, NB):
        n = start + column % NB
        corners = _corners(tokens, m, n, tl.minimum(column_r, R - 1), N, L, C)
        points = _points(tokens, m, start + tl.arange(0, NB), N)
        scores, mean, spread = _score(
            query, row_at, row_in, tokens, corners, points, epsilon, C, B, NB, BB, RB, RB * HB
        )
        allowed = (row_r[:, None] == column_r[None, :]) & (n < N)[None, :]
        if tokens.counted is not None:
            allowed = allowed & (tl.load(tokens.counted + m * N + n, n < N, 0) != 0)[None, :]
        scores = tl.where(allowed, scores * scale, -float("inf"))
        # The softmax so far, weighed down by what this block adds to its sum.
        peak = tl.maximum(highest, tl.max(scores, 1))
        safe = tl.where(peak == -float("inf"), 0.0, peak)
        before = total * tl.exp(highest - safe)
        weights = tl.exp(scores - safe[:, None])
        total = before + tl.sum(weights, 1)
        share = tl.where(total > 0, 1 / total, 0.0)
        weights, before, highest = weights * share[:, None], before * share, peak
        if start > 0:
            tl.debug_barrier()  # what other threads stored of the values so far
        for part in tl.static_range(C // B):
            for first in range(0, B, BB):
                tile = _tile(tokens, corners, points, first, part, B, NB, BB, RB)
                if tokens.gain is not None:
                    gain = _channels(tokens.gain, first, part, B, BB)
                    bias = _channels(tokens.bias, first, part, B, BB)
                    tile = (tile - mean[:, None]) * spread[:, None] * gain[None, :] + bias[None, :]
                found = tl.dot(weights.to(exact), tile.to(exact), input_precision="ieee")
                if start > 0:
                    found += before[:, None] * _rows(out, row_at, row_in, first, part, B, BB)
                _keep(out, row_at, row_in, first, found, part, B, BB)


@triton.jit
def _score(
    query, row_at, row_in, tokens, corners, points, epsilon,
    C: tl.constexpr, B: tl.constexpr, NB: tl.constexpr, BB: tl.constexpr, RB: tl.constexpr,
    ROWS: tl.constexpr,
):  # fmt: skip
    """Products of rows with normalized tokens, and these' moments.

    In one pass over the channels: with moments μ, 1 / σ and a norm's gain g and bias b, the product
    with a row q is (Σ q g t − μ Σ q g) / σ + Σ q b.
    """
    exact: tl.constexpr = tokens.features.dtype.element_ty
    scores = tl.zeros([ROWS, RB * NB], tl.float32)
    total, squares = tl.zeros([RB * NB], tl.float32), tl.zeros([RB * NB], tl.float32)
    of_gain, of_bias = tl.zeros([ROWS], tl.float32), tl.zeros([ROWS], tl.float32)
    for part in tl.static_range(C // B):
        for first in range(0, B, BB):
            tile = _tile(tokens, corners, points, first, part, B, NB, BB, RB)
            rows = _rows(query, row_at, row_in, first, part, B, BB).to(tl.float32)
            if tokens.gain is not None:
                total += tl.sum(tile, 1)
                squares += tl.sum(tile * tile, 1)
                of_bias += tl.sum(rows * _channels(tokens.bias, first, part, B, BB)[None, :], 1)
                rows = rows * _channels(tokens.gain, first, part, B, BB)[None, :]
                of_gain += tl.sum(rows, 1)
            scores = tl.dot(
                rows.to(exact), tl.trans(tile.to(exact)), scores, input_precision="ieee"
            )
    mean, spread = _moments(total, squares, epsilon, C)
    if tokens.gain is not None:
        scores = (scores - of_gain[:, None] * mean[None, :]) * spread[None, :] + of_bias[:, None]
    return scores, mean, spread


@triton.jit
def multiply(
    query, gradient, products, moments, tokens, R, M, N, L, epsilon,
    H: tl.constexpr, C: tl.constexpr, B: tl.constexpr,
    HB: tl.constexpr, NB: tl.constexpr, BB: tl.constexpr,
):  # fmt: skip
    """Products of queries and of gradients with tokens, [2, R, M, H, N]; M by R by N / NB.

    And the tokens' moments, [2, R, M, N]: mean and reciprocal standard deviation.
    """
    m, r = tl.program_id(0).to(tl.int64), tl.program_id(1)
    n = tl.program_id(2) * NB + tl.arange(0, NB)
    head = tl.arange(0, HB)
    row_at, row_in = ((r * M + m) * H + head) * C, head < H
    corners = _corners(tokens, m, n, r, N, L, C)
    points = _points(tokens, m, n, N)
    place = ((r * M + m) * H + head)[:, None] * N + n[None, :]
    stored = row_in[:, None] & (n < N)[None, :]
    scores, mean, spread = _score(
        query, row_at, row_in, tokens, corners, points, epsilon, C, B, NB, BB, 1, HB
    )
    tl.store(products + place, scores, stored)
    slopes, _, _ = _score(
        gradient, row_at, row_in, tokens, corners, points, epsilon, C, B, NB, BB, 1, HB
    )
    tl.store(products + place + M.to(tl.int64) * R * H * N, slopes, stored)
    if tokens.gain is not None:
        tl.store(moments + (r * M + m) * N + n, mean, n < N)
        tl.store(moments + (r * M + m + R * M) * N + n, spread, n < N)


@triton.jit
def _slope(
    query, gradient, of_scores, weights, at, within, first,
    PART: tl.constexpr, B: tl.constexpr, BB: tl.constexpr,
):  # fmt: skip
    """Some channels of the gradient of normalized tokens, [NB, BB]: as keys and as values."""
    rows = _rows(query, at, within, first, PART, B, BB)
    slope = tl.dot(of_scores, rows, input_precision="ieee")
    rows = _rows(gradient, at, within, first, PART, B, BB)
    return tl.dot(weights, rows, slope, input_precision="ieee")


@triton.jit
def differentiate(
    query, gradient, of_scores, weights, moments, tokens, of_query, of_tokens, of_norm, R, M, N, L,
    H: tl.constexpr, C: tl.constexpr, B: tl.constexpr,
    HB: tl.constexpr, NB: tl.constexpr, BB: tl.constexpr,
):  # fmt: skip
    """Gradients of query m, of its tokens before the norm, and of the norm; the grid is M by R.

    Tokens are keys and values: head by head, the gradient of a normalized one is the gradient of
    its score times the query plus its weight times the gradient of what was read.
    """
    m, r = tl.program_id(0).to(tl.int64), tl.program_id(1)
    head = tl.arange(0, HB)
    row_at, row_in = ((r * M + m) * H + head) * C, head < H
    exact: tl.constexpr = tokens.features.dtype.element_ty
    for start in range(0, N, NB):
        n = start + tl.arange(0, NB)
        token = (r * M + m) * N + n
        corners = _corners(tokens, m, n, r, N, L, C)
        points = _points(tokens, m, n, N)
        place = ((r * M + m) * H + head)[None, :] * N + n[:, None]
        known = row_in[None, :] & (n < N)[:, None]
        of_score = tl.load(of_scores + place, known, 0.0).to(exact)  # [NB, HB]
        weight = tl.load(weights + place, known, 0.0).to(exact)
        mean, spread = tl.zeros([NB], tl.float32), tl.zeros([NB], tl.float32)
        if tokens.gain is not None:
            mean = tl.load(moments + token, n < N, 0.0)
            spread = tl.load(moments + token + M.to(tl.int64) * R * N, n < N, 0.0)
        total, along = tl.zeros([NB], tl.float32), tl.zeros([NB], tl.float32)
        if start > 0:
            tl.debug_barrier()  # what other threads stored of the gradients so far
        for part in tl.static_range(C // B):
            for first in range(0, B, BB):
                tile = _tile(tokens, corners, points, first, part, B, NB, BB, 1)
                slope = _slope(
                    query, gradient, of_score, weight, row_at, row_in, first, part, B, BB
                )
                if tokens.gain is None:
                    _keep(of_tokens, token * C, n < N, first, slope, part, B, BB)
                else:
                    tile = (tile - mean[:, None]) * spread[:, None]
                    at = of_norm + (r * M + m) * 2 * C
                    _add(at, start, first, tl.sum(slope * tile, 0), part, B, BB)
                    _add(at + C, start, first, tl.sum(slope, 0), part, B, BB)
                    gain = _channels(tokens.gain, first, part, B, BB)[None, :]
                    total += tl.sum(slope * gain, 1)
                    along += tl.sum(slope * gain * tile, 1)
                    tile = tile * gain + _channels(tokens.bias, first, part, B, BB)[None, :]
                found = tl.dot(tl.trans(of_score), tile.to(exact), input_precision="ieee")
                if start > 0:
                    found += _rows(of_query, row_at, row_in, first, part, B, BB)
                _keep(of_query, row_at, row_in, first, found, part, B, BB)
        if tokens.gain is not None:
            for part in tl.static_range(C // B):
                for first in range(0, B, BB):
                    tile = _tile(tokens, corners, points, first, part, B, NB, BB, 1)
                    tile = (tile - mean[:, None]) * spread[:, None]
                    slope = _slope(
                        query, gradient, of_score, weight, row_at, row_in, first, part, B, BB
                    )
                    slope *= _channels(tokens.gain, first, part, B, BB)[None, :]
                    slope -= total[:, None] / C + tile * along[:, None] / C
                    slope *= spread[:, None]
                    _keep(of_tokens, token * C, n < N, first, slope, part, B, BB)


@triton.jit
def collect(of_tokens, weight, order, begin, of_features, P, L, C: tl.constexpr, CB: tl.constexpr):
    """Add to a cell's gradient those of the P tokens that read it, in order; L by R."""
    cell, r = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    channel = tl.arange(0, CB)
    total = tl.zeros([CB], tl.float32)
    for reader in range(tl.load(begin + cell), tl.load(begin + cell + 1)):
        corner = tl.load(order + reader)
        place = (r * P + corner // 4) * C + channel
        found = tl.load(of_tokens + place, channel < C, 0.0).to(tl.float32)
        total += tl.load(weight + corner) * found
    place = of_features + (r * L + cell) * C + channel
    total += tl.load(place, channel < C, 0.0)
    tl.store(place, total, channel < C)
