"""The picture of the steps: every step to the right of what it reads, and no line too many."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from mvdiffusion.records import InputError
from mvdiffusion_eval.report.step_graph import draw_steps, kind_of

STEPS = {
    "rooms_train": [],
    "rooms_test": [],
    "panorama_stage1": ["rooms_train"],
    "panorama_stage2": ["panorama_stage1", "rooms_train"],
    "panorama_real": ["rooms_test"],
    "panorama_mvdiffusion": ["panorama_stage2", "rooms_test"],
    "score_panorama_real": ["panorama_real", "panorama_real"],
    "score_panorama_mvdiffusion": ["panorama_mvdiffusion", "panorama_real"],
    "tables": ["score_panorama_real", "score_panorama_mvdiffusion"],
}
NAMESPACE = "{http://www.w3.org/2000/svg}"


def drawn() -> tuple[dict[str, tuple[float, float, float]], set[tuple[str, str]]]:
    """Boxes (left edge, middle, width) by name, and lines as pairs of names."""
    svg = ElementTree.fromstring(str(draw_steps(STEPS)))
    names = [text.text for text in svg.iter(f"{NAMESPACE}text")]
    boxes = {}
    for name, box in zip(names, svg.iter(f"{NAMESPACE}rect"), strict=True):
        x, y, width, height = (float(box.attrib[key]) for key in ("x", "y", "width", "height"))
        boxes[name] = (x, y + height / 2, width)
    lines = set()
    for path in svg.iter(f"{NAMESPACE}path"):
        numbers = [float(number) for number in re.findall(r"[\d.]+", path.attrib["d"])]
        start, stop = numbers[:2], numbers[-2:]
        (source,) = (n for n, (x, y, w) in boxes.items() if start == pytest.approx([x + w, y]))
        (target,) = (n for n, (x, y, w) in boxes.items() if stop == pytest.approx([x, y]))
        lines.add((source, target))
    return boxes, lines


def test_each_kind_of_steps_has_one_box_to_the_right_of_what_it_reads() -> None:
    boxes, lines = drawn()
    assert set(boxes) == {"rooms", "stage 1", "stage 2", "real", "mvdiffusion", "score", "tables"}
    for source, target in lines:
        assert boxes[source][0] + boxes[source][2] < boxes[target][0]
    places = [(x, y) for x, y, _ in boxes.values()]
    assert len(set(places)) == len(places), "no box lies on another"


def test_a_line_that_others_imply_is_left_out() -> None:
    """Rooms are read by stage 2, too, but that follows from stage 1."""
    assert drawn()[1] == {
        ("rooms", "stage 1"),
        ("rooms", "real"),
        ("stage 1", "stage 2"),
        ("stage 2", "mvdiffusion"),
        ("mvdiffusion", "score"),
        ("real", "score"),
        ("score", "tables"),
    }


def test_the_picture_has_words_for_those_who_cannot_see_it() -> None:
    words = ElementTree.fromstring(str(draw_steps(STEPS))).attrib["aria-label"]
    assert "score after mvdiffusion, real" in words
    assert draw_steps({}) == ""


def test_names_of_kinds_have_no_task() -> None:
    assert kind_of("outpaint_vae_reconstruction") == "vae reconstruction"
    assert kind_of("panorama_panorama_finetune_model") == "panorama finetune model"
    assert kind_of("classifier") == "classifier"


def test_steps_in_a_circle_are_refused() -> None:
    with pytest.raises(InputError, match="read one another's results"):
        draw_steps({"a": ["b"], "b": ["a"]})
