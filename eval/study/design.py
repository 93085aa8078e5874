"""The design of a study: which pairs of images are compared, on which side each one stands.

Every pair of methods is compared on the same samples, so all pairs of methods occur equally often
and every method is seen on every sample. Of each pair of methods, either one stands on the left
side in half of the comparisons (with an odd number of samples, in one more or less). The page shows
the comparisons to every rater in another order, and to about half of them with exchanged sides.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from mvdiffusion.records import InputError, listed

QUESTIONS = (
    "Which one looks more like one consistent scene?",
    "Which one has the better image quality?",
)
TEXT_QUESTION = "Which one fits the text better?"
"""Asked by default if every sample has a text."""

SAMPLES = 10
"""Number of samples on which a pair of methods is compared by default, if there are as many."""

Content = Literal["made", "noise"]


@dataclass(frozen=True)
class Shown:
    """The image behind an opaque id; only the key tells.

    Attributes:
        method: whose image it is.
        sample: which sample of it.
        content: "noise" if a catch trial shows noise in place of the method's image.
    """

    method: str
    sample: str
    content: Content = "made"


@dataclass(frozen=True)
class Comparison:
    """Two images that are shown beside one another.

    Attributes:
        id: opaque.
        images: opaque ids of the images, the one on the left (A) first.
    """

    id: str
    images: tuple[str, str]


@dataclass(frozen=True)
class Design:
    """All comparisons of a study.

    Attributes:
        images: what each image id stands for.
        comparisons: in random order, catch trials among them.
    """

    images: dict[str, Shown]
    comparisons: tuple[Comparison, ...]


def make_design(
    methods: Sequence[str],
    samples: Sequence[str],
    *,
    count: int | None = None,
    catch: int = 0,
    seed: int = 0,
) -> Design:
    """Draw the comparisons of a study; equal arguments give equal designs.

    Args:
        methods: names of at least two methods.
        samples: ids of the samples that all methods have.
        count: number of samples on which every pair of methods is compared, drawn at random; by
            default all, at most `SAMPLES`.
        catch: number of catch trials: in turn an image beside noise, and one beside itself.
        seed: of all random choices.

    Raises:
        InputError: there are fewer samples than `count`.
    """
    count = min(SAMPLES, len(samples)) if count is None else count
    if count > len(samples):
        raise InputError(
            f"--pairs: {count}, but the methods have {len(samples)} samples in common "
            f"({listed(samples)}); each pair of methods is compared once on a sample."
        )
    draw = _Draw(seed)
    chosen = sorted(draw.random.sample(sorted(samples), count))
    ids = {(method, sample): draw.new_id() for method in methods for sample in chosen}
    images = {ids[key]: Shown(*key) for key in ids}
    pairs = []
    for first, second in combinations(range(len(methods)), 2):
        for rank, sample in enumerate(draw.shuffled(chosen)):
            # The sum decides who gets the odd one, so that it falls to each method equally often.
            order = (first, second) if (rank + first + second) % 2 == 0 else (second, first)
            pairs.append([ids[methods[number], sample] for number in order])
    for trial in range(catch):
        intact = ids[draw.random.choice(list(methods)), draw.random.choice(chosen)]
        shown, other = images[intact], draw.new_id()
        content: Content = "made" if trial % 2 else "noise"
        images[other] = Shown(shown.method, shown.sample, content)
        pairs.append(draw.shuffled([intact, other]))
    comparisons = [Comparison(draw.new_id(), (left, right)) for left, right in draw.shuffled(pairs)]
    return Design(images, tuple(comparisons))


def expected_choice(comparison: Comparison, images: dict[str, Shown]) -> str | None:
    """Right answer of a catch trial: an image id or `SAME`; None if it is a comparison of methods.

    Args:
        comparison: of the study.
        images: what each image id stands for.
    """
    left, right = (images[image] for image in comparison.images)
    if left == right:
        return SAME
    if (left.method, left.sample) != (right.method, right.sample):
        return None
    return comparison.images[0] if right.content == "noise" else comparison.images[1]


SAME = "same"
"""The answer "no difference"."""


class _Draw:
    """Random choices from one seed, the same with every version of Python."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._given: set[str] = set()

    def new_id(self) -> str:
        """Ten hexadecimal digits that no other image or comparison has."""
        while (drawn := f"{self.random.getrandbits(40):010x}") in self._given:
            pass
        self._given.add(drawn)
        return drawn

    def shuffled(self, things: list) -> list:
        return self.random.sample(things, len(things))
