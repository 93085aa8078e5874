"""The key of a study and the answers of its raters, as they are read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mvdiffusion.records import InputError
from mvdiffusion.settings import NonNegative, Text, mistake, read_file, settings

from .design import SAME, Comparison, Content, Shown, expected_choice

Pair = Annotated[tuple[Text, ...], Field(min_length=2, max_length=2)]


@settings
class KeyImage:
    """What an image id stands for; see `design.Shown`."""

    method: Text
    sample: Text
    content: Content


@settings
class KeyComparison:
    """A comparison of a key; see `design.Comparison`."""

    id: Text
    images: Pair


@settings
class Key:
    """The key of a study, as `page.write_study` writes it.

    Attributes:
        study: hash of everything that raters see.
        methods: names, in the order they were given.
        questions: that were asked.
        images: what each image id stands for.
        comparisons: of the study.
    """

    study: Text
    methods: Annotated[tuple[Text, ...], Field(min_length=2)]
    questions: Annotated[tuple[Text, ...], Field(min_length=1)]
    images: dict[str, KeyImage]
    comparisons: Annotated[tuple[KeyComparison, ...], Field(min_length=1)]
    format: Literal[1] = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse comparisons of images that the key does not have."""
        for image in self.images.values():
            if image.method not in self.methods:
                raise mistake("images", image.method, "methods that 'methods' has")
        for each in self.comparisons:
            for name in each.images:
                if name not in self.images:
                    raise mistake("comparisons", name, "images that 'images' has")
            if len({self.images[name].sample for name in each.images}) > 1:
                raise mistake("comparisons", each.id, "two images of one sample")

    @property
    def shown(self) -> dict[str, Shown]:
        """What each image id stands for."""
        return {name: Shown(i.method, i.sample, i.content) for name, i in self.images.items()}


@settings
class Answer:
    """A rater's answers about one comparison.

    Attributes:
        comparison: its id.
        left: id of the image that stood on the left side.
        choices: one per question: the id of the better image, or "same", or null if not answered.
        seconds: that the comparison was looked at.
    """

    comparison: Text
    left: Text
    choices: tuple[Text | None, ...]
    seconds: NonNegative = 0.0


@settings
class AnswerFile:
    """The file that the page exports.

    Attributes:
        study: hash of the study that was answered.
        rater: code of who answered.
        answers: one per comparison that was looked at.
    """

    study: Text
    rater: Text
    answers: tuple[Answer, ...]
    format: Literal[1] = field(default=1, kw_only=True)


@dataclass(frozen=True)
class Judgment:
    """One answer about two methods.

    Attributes:
        question: its number.
        pair: numbers of the methods, the smaller one first.
        won: what the first one won: 1, 0, or 1/2 for "no difference".
        rating: the same of the image that the key names first, which is either method's in half of
            the comparisons: agreement of raters must not depend on the order of the methods.
    """

    rater: str
    sample: str
    comparison: str
    question: int
    pair: tuple[int, int]
    won: float
    rating: float


@dataclass(frozen=True)
class Rater:
    """A rater's answers, with the results of the catch trials.

    Attributes:
        code: what the rater entered.
        path: of the file.
        judgments: about methods.
        caught: of each answered question of a catch trial, whether the answer is right.
        on_left: of all answers about methods that prefer a side, how many prefer the left one.
        seconds: of each comparison.
    """

    code: str
    path: Path
    judgments: tuple[Judgment, ...]
    caught: tuple[bool, ...]
    on_left: int
    seconds: tuple[float, ...]

    @cached_property
    def preferences(self) -> int:
        """Answers about methods that prefer a side."""
        return sum(judgment.won != 0.5 for judgment in self.judgments)


def read_key(path: Path) -> Key:
    """Read the key of a study.

    Raises:
        InputError: it is missing, no key, or contradicts itself.
    """
    return read_file(Key, path)


def read_raters(paths: Sequence[Path], key: Key) -> tuple[list[Rater], list[str]]:
    """Read the answers of raters, each rater once.

    Args:
        paths: files that the page exported.
        key: of the study.

    Returns:
        The raters, sorted by code, and notes on files that repeat another one.

    Raises:
        InputError: a file is damaged or answers another study, or two files of one rater differ.
    """
    raters: dict[str, Rater] = {}
    notes = []
    for path in paths:
        rater = _read_rater(path, key)
        earlier = raters.get(rater.code)
        if earlier is None:
            raters[rater.code] = rater
        elif (earlier.judgments, earlier.caught) == (rater.judgments, rater.caught):
            notes.append(f"{path}: has the answers of {earlier.path} again; they count once.")
        else:
            raise InputError(
                f"{path}: has other answers of the rater '{rater.code}' than {earlier.path}; give "
                "the file that is meant, or, if they are two people, change one of the codes."
            )
    return [raters[code] for code in sorted(raters)], notes


def _read_rater(path: Path, key: Key) -> Rater:
    found = read_file(AnswerFile, path)
    if found.study != key.study:
        raise InputError(
            f"{path}: answers the study {found.study[:8]}, but the key is that of {key.study[:8]}; "
            "give the key that was written with the page."
        )
    shown, comparisons = key.shown, {each.id: each for each in key.comparisons}
    judgments, caught, on_left, seen = [], [], 0, set()
    for number, answer in enumerate(found.answers):
        where = f"{path}: key 'answers.{number}"
        comparison = comparisons.get(answer.comparison)
        if comparison is None:
            raise InputError(
                f"{where}.comparison' is '{answer.comparison}', which the study does not have; "
                "use the file as the page exported it."
            )
        if answer.comparison in seen:
            raise InputError(f"{where}.comparison' is '{answer.comparison}' for a second time.")
        seen.add(answer.comparison)
        _check_answer(answer, comparison.images, len(key.questions), where)
        designed = Comparison(comparison.id, (comparison.images[0], comparison.images[1]))
        right = expected_choice(designed, shown)
        for question, choice in enumerate(answer.choices):
            if choice is None:
                continue
            if right is not None:
                caught.append(choice == right)
            else:
                on_left += choice == answer.left
                judgments.append(_judgment(found.rater, designed, question, choice, shown, key))
    seconds = tuple(answer.seconds for answer in found.answers)
    return Rater(found.rater, path, tuple(judgments), tuple(caught), on_left, seconds)


def _check_answer(answer: Answer, images: tuple[str, ...], questions: int, where: str) -> None:
    if answer.left not in images:
        raise InputError(f"{where}.left' is '{answer.left}'; expected one of {', '.join(images)}.")
    if len(answer.choices) != questions:
        raise InputError(
            f"{where}.choices' has {len(answer.choices)} entries; expected {questions}, one per "
            "question."
        )
    for choice in answer.choices:
        if choice not in (*images, SAME, None):
            expected = ", ".join((*images, f"'{SAME}'"))
            raise InputError(f"{where}.choices' has '{choice}'; expected one of {expected}.")


def _judgment(
    rater: str,
    comparison: Comparison,
    question: int,
    choice: str,
    shown: Mapping[str, Shown],
    key: Key,
) -> Judgment:
    methods = [key.methods.index(shown[image].method) for image in comparison.images]
    rating = 0.5 if choice == SAME else float(choice == comparison.images[0])
    won = rating if methods[0] < methods[1] else 1 - rating
    pair, sample = (min(methods), max(methods)), shown[comparison.images[0]].sample
    return Judgment(rater, sample, comparison.id, question, pair, won, rating)
