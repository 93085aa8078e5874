"""The answers of a study: read with care, scored, and nothing dropped without a word."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mvdiffusion.records import InputError
from mvdiffusion_eval.cli import main
from mvdiffusion_eval.study.design import expected_choice, make_design
from mvdiffusion_eval.study.page import write_study
from mvdiffusion_eval.study.scoring import StudyScore, score_study

METHODS = ("best", "middle", "worst")
QUESTIONS = ["Consistent?", "Good?"]
Choose = Callable[[str, str, int], str]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write_key(tmp_path / "page.key.json")


def write_key(path: Path, methods: tuple[str, ...] = METHODS, seed: int = 0) -> Path:
    design = make_design(methods, [f"s{i}" for i in range(10)], catch=2, seed=seed)
    content = {
        "format": 1,
        "study": f"{seed}" * 64,
        "methods": list(methods),
        "questions": QUESTIONS,
        "images": {image: vars(shown) for image, shown in design.images.items()},
        "comparisons": [{"id": c.id, "images": c.images} for c in design.comparisons],
    }
    path.write_text(json.dumps(content))
    return path


def answer(
    key: Path,
    rater: str,
    seed: int,
    *,
    accuracy: float = 0.8,
    ties: float = 0.1,
    attentive: bool = True,
    change: Callable[[dict[str, Any]], None] = lambda content: None,
) -> Path:
    """Write the answers of a rater who mostly prefers the method that the key names first."""
    rng, content = np.random.default_rng(seed), json.loads(key.read_text())
    design = make_design(content["methods"], [f"s{i}" for i in range(10)], catch=2, seed=0)
    answers = []
    for each in design.comparisons:
        right, choices = expected_choice(each, design.images), []
        for _ in QUESTIONS:
            order = [METHODS.index(design.images[image].method) for image in each.images]
            better = each.images[int(np.argmin(order))]
            worse = each.images[int(np.argmax(order))]
            draw = rng.random()
            choice = better if draw < accuracy * (1 - ties) else worse
            choice = "same" if draw > 1 - ties else choice
            if right is not None:
                choice = right if attentive else each.images[0]
            choices.append(choice)
        left = each.images[int(rng.integers(2))]
        answers.append({"comparison": each.id, "left": left, "choices": choices, "seconds": 2.5})
    made = {"format": 1, "study": content["study"], "rater": rater, "answers": answers}
    change(made)
    path = key.parent / f"{rater}-{seed}.json"
    path.write_text(json.dumps(made))
    return path


def scored(key: Path, *paths: Path) -> StudyScore:
    return score_study(key, paths)


def test_counts_shares_and_order(key: Path) -> None:
    paths = [answer(key, f"r{number}", number, accuracy=0.9) for number in range(6)]
    content = scored(key, *paths).content
    first = content["questions"][0]
    assert first["answers"] == 6 * 30
    for row in first["preferences"]:
        counts = row["preferred"], row["no_difference"], row["other_preferred"]
        assert sum(counts) == 60
        assert row["share"] == pytest.approx((counts[0] + counts[1] / 2) / 60)
        assert row["interval"][0] < row["share"] < row["interval"][1]
        assert row["interval"][0] > 0.5
    assert [row["method"] for row in first["strengths"]] == list(METHODS)
    assert [row["rank"] for row in first["strengths"]] == [1, 2, 3]
    for row in first["strengths"]:
        assert row["ranks"][0] <= row["rank"] <= row["ranks"][1]
    assert 0.1 < first["krippendorff_alpha"] < 0.9
    assert content["raters"][0]["median_seconds"] == 2.5
    assert 0.3 < content["raters"][0]["left_share"] < 0.7


def test_strengths_are_those_of_the_counts(key: Path) -> None:
    """The gap of two methods is the log odds of their answers."""
    only = write_key(key.with_name("two.key.json"), METHODS[:2])
    content = scored(only, answer(only, "r", 1), answer(only, "q", 2)).content
    row = content["questions"][0]["preferences"][0]
    odds = (row["preferred"] + row["no_difference"] / 2) / (
        row["other_preferred"] + row["no_difference"] / 2
    )
    best, worst = content["questions"][0]["strengths"]
    assert best["strength"] - worst["strength"] == pytest.approx(np.log(odds))


def test_inattentive_raters_are_excluded_and_named(key: Path) -> None:
    good, bad = answer(key, "good", 1), answer(key, "bad", 2, attentive=False)
    both = scored(key, good, bad).content
    assert both["questions"][0]["answers"] == 30
    assert {row["rater"]: row["counted"] for row in both["raters"]} == {"good": True, "bad": False}
    assert any(
        "Excluded" in note and note.endswith("trials are right: bad.") for note in both["notes"]
    )
    assert score_study(key, [good, bad], 0).content["questions"][0]["answers"] == 60
    with pytest.raises(InputError, match="no answers about methods remain of 1 raters, of whom 1"):
        scored(key, bad)


def test_a_rater_counts_once(key: Path) -> None:
    path = answer(key, "r", 1)
    copy = path.with_name("copy.json")
    copy.write_text(path.read_text())
    content = scored(key, path, copy).content
    assert content["questions"][0]["answers"] == 30
    assert any(
        note.startswith(f"{copy}: has the answers of {path} again") for note in content["notes"]
    )
    with pytest.raises(InputError, match="other answers of the rater 'r' than"):
        scored(key, path, answer(key, "r", 2))


def test_separated_methods_have_finite_strengths_and_a_note(key: Path) -> None:
    content = scored(key, answer(key, "r", 1, accuracy=1.0, ties=0.0)).content
    strengths = content["questions"][0]["strengths"]
    assert np.isfinite([row["strength"] for row in strengths]).all()
    assert [row["method"] for row in strengths] == list(METHODS)
    assert "Question 1: a method, or several together, won everything" in " ".join(content["notes"])
    tied = scored(key, answer(key, "q", 1, accuracy=1.0)).content
    assert "won everything" not in " ".join(tied["notes"])  # half a preference is one


def test_methods_that_nothing_connects_have_no_ranks(key: Path) -> None:
    names = json.loads(key.read_text())
    methods = {image: shown["method"] for image, shown in names["images"].items()}
    pairs = {c["id"]: {methods[i] for i in c["images"]} for c in names["comparisons"]}

    def keep(content: dict[str, Any]) -> None:
        kept = [a for a in content["answers"] if "worst" not in pairs[a["comparison"]]]
        content["answers"] = kept

    content = scored(key, answer(key, "r", 1, change=keep)).content
    assert content["questions"][0]["strengths"] == []
    assert "have no ranks: best, middle | worst." in " ".join(content["notes"])
    assert [row["other"] for row in content["questions"][0]["preferences"]] == ["middle"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(study="f" * 64), r"answers the study ffffffff, but the key is that of"),
        (lambda c: c.pop("rater"), r"key 'rater' is missing"),
        (lambda c: c["answers"][3].pop("left"), r"key 'answers.3.left' is missing"),
        (lambda c: c["answers"][0].update(comparison="x"), r"answers.0.comparison' is 'x', which"),
        (lambda c: c["answers"].append(c["answers"][0]), r"answers.32.comparison' is .* second"),
        (lambda c: c["answers"][1].update(left="x"), r"answers.1.left' is 'x'; expected one of"),
        (lambda c: c["answers"][1].update(choices=["same"]), r"has 1 entries; expected 2"),
        (lambda c: c["answers"][1]["choices"].__setitem__(0, "x"), r"answers.1.choices' has 'x'"),
        (lambda c: c["answers"][1].update(seconds="1"), r"answers.1.seconds' is '1'; expected"),
    ],
)
def test_damaged_answers_are_named(key: Path, change: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        scored(key, answer(key, "r", 1, change=change))


def test_no_json_is_named(key: Path, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("{")
    with pytest.raises(InputError, match=r"r\.json: not valid JSON"):
        scored(key, tmp_path / "r.json")


def test_a_key_that_contradicts_itself_is_refused(key: Path) -> None:
    path, content = answer(key, "r", 1), json.loads(key.read_text())
    del content["images"][content["comparisons"][0]["images"][0]]
    key.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"key 'comparisons' is .*expected images that"):
        scored(key, path)


def test_unanswered_questions_are_left_out(key: Path) -> None:
    def half(content: dict[str, Any]) -> None:
        for each in content["answers"][::2]:
            each["choices"][1] = None

    content = scored(key, answer(key, "r", 1, change=half)).content
    assert content["questions"][0]["answers"] == 30
    assert content["questions"][1]["answers"] < 20


def test_the_command_writes_numbers_and_tables(
    key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(answer(key, f"r{number}", number)) for number in range(5)]
    words = ["--output", str(tmp_path / "study.json"), "--tables", str(tmp_path / "tables")]
    with pytest.raises(SystemExit) as end:
        main(["study-score", str(key), *paths, *words])
    assert not end.value.code
    printed = " ".join(capsys.readouterr().out.split())
    assert "Question 2: Good? Krippendorff's alpha" in printed
    assert json.loads((tmp_path / "study.json").read_text())["methods"] == list(METHODS)
    names = {path.name for path in (tmp_path / "tables").iterdir()}
    assert {
        f"study_{n}.{e}"
        for n in ("preferences", "strengths", "raters")
        for e in ("csv", "md", "tex", "html")
    } <= names
    rows = (tmp_path / "tables/study_strengths.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 3
    assert rows[1].startswith("1,Consistent?,best,")


def test_the_key_and_the_answers_are_never_replaced(key: Path) -> None:
    """Without the key no answer can be read."""
    answers = answer(key, "anna", 1)
    for path in (key, answers):
        before = path.read_bytes()
        with pytest.raises(SystemExit):
            main(["study-score", str(key), str(answers), "--output", str(path)])
        assert path.read_bytes() == before
    with pytest.raises(InputError, match=r"a name that ends in \.html"):
        write_study(["one", "two"], key)  # the key, taken for the name of a page
