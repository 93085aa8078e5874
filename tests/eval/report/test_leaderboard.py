"""The leaderboard: what shares a column, what is marked as best, and what strangers may send."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import random
import zipfile
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from mvdiffusion.methods.specification import specification_names
from mvdiffusion.records import InputError
from mvdiffusion_eval.artifacts import submissions
from mvdiffusion_eval.artifacts.submissions import read_submission
from mvdiffusion_eval.cli import main
from mvdiffusion_eval.report.leaderboard import write_leaderboard
from mvdiffusion_eval.scoring.verification import sealed
from mvdiffusion_eval.tables.leaderboard import Cell, Column, Entry, marked
from mvdiffusion_eval.tables.published import published_tables

ROOT = Path(__file__).parents[3]
REFERENCE = ["results/reference/mini", "results/reference/comparison"]
NAMES = ("mine", "yours", "theirs")


def measurement(values: list[float] | None, number: float = 0.0, **about: Any) -> dict[str, Any]:
    """A metric as score files have it, with values per sample or without any."""
    known = {
        "value": float(np.mean(values)) if values else number,
        "se": float(np.std(values, ddof=1) / np.sqrt(len(values))) if values else None,
        "unit": "dB" if values else "",
        "higher_is_better": bool(values),
        "protocol": "paper-consistency-pano",
        "version": 1,
        "extractor": None,
        "values": values,
        "values_per": "sample" if values else None,
        "curvatures": None,
        "repeats": None,
        "left_out": 0,
    }
    return known | about


def score(method: str = "mine", mean: float = 20.0, **changes: Any) -> dict[str, Any]:
    """A score file of 8 samples: PSNR with values, and FID by a network, without."""
    count = changes.pop("num_samples", 8)
    spread = changes.pop("spread", 0.1)
    weights = changes.pop("weights", "aaaa")
    psnr, fid = changes.pop("psnr", {}), changes.pop("fid", {})
    values = [mean + spread * (-1) ** i for i in range(count)]
    name = f"network ({weights})"
    images = {
        "num_samples": count, "num_images": 8 * count, "num_evaluated": 8 * count,
        "samples": [f"room{i}" for i in range(count)], "num_views": 8, "height": 64, "width": 64,
        "fov_deg": 90.0, "yaw_deg": [45.0 * i for i in range(8)], "given_views": [],
    }  # fmt: skip
    content = {
        "format": 3,
        "task": "panorama",
        "method": method,
        "settings_sha256": "0" * 64,
        "images": images | changes.pop("images", {}),
        "metrics": {
            "cross_view_psnr": measurement(values, **psnr),
            "fid": measurement(None, 1.0, protocol="paper-pano", extractor=name, **fid),
        },
        "pairs": [],
        "extractors": {name: {"kind": "classifier"} | changes.pop("network", {})},
        "settings": {"jackknife_groups": 4, "seed": 0} | changes.pop("settings", {}),
        "reference": {"sha256": "c" * 64} | changes.pop("reference", {}),
        "faults": changes.pop("faults", {}),
        "protocols": {},
        "warnings": changes.pop("warnings", []),
    }
    assert not set(changes) - {"task"}
    return sealed(content | changes)


class Page(HTMLParser):
    """Reads the tables of a page: title of each group, headings, and rows with their marks."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.groups: list[dict[str, Any]] = []
        self.scripts: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []
        self.feed(text)
        assert not self.inside, "all elements are closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        self.tags.append((tag, about))
        if tag == "br":
            self.handle_data(" ")
        if tag in ("meta", "input", "br"):
            return
        self.inside.append(tag)
        if tag == "section":
            self.groups.append({"about": about, "rows": [], "text": ""})
        if tag == "tr":
            self.groups[-1]["rows"].append({"class": about.get("class"), "cells": []})
        if tag in ("td", "th"):
            self.groups[-1]["rows"][-1]["cells"].append({"about": about, "text": ""})

    def handle_endtag(self, tag: str) -> None:
        assert self.inside.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self.inside:
            self.scripts.append(data)
        elif "section" in self.inside:
            self.groups[-1]["text"] += data
            if "tr" in self.inside:
                self.groups[-1]["rows"][-1]["cells"][-1]["text"] += data

    def measured(self) -> list[dict[str, Any]]:
        """Groups of score files."""
        kinds = ("Published", "run “")
        titles = [(g, g["about"].get("data-title")) for g in self.groups]
        return [g for g, title in titles if title and not any(kind in title for kind in kinds)]


def make(tmp_path: Path, *contents: dict[str, Any], artifacts: tuple[int, ...] = ()) -> str:
    """Write score files, or artifacts of those numbers, and the page of them."""
    paths = []
    for number, content in enumerate(contents):
        path = tmp_path / f"{number}.json"
        if number in artifacts:
            path = tmp_path / f"{number}.zip"
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("scores.json", json.dumps(content))
        else:
            path.write_text(json.dumps(content))
        paths.append(path)
    write_leaderboard(paths, tmp_path / "page.html")
    return (tmp_path / "page.html").read_text()


def together(page: str) -> list[tuple[str, set[str]]]:
    """Per column of score files, the first words of the rows that have a number in it."""
    found = []
    for group in Page(page).measured():
        header, *rows = group["rows"]
        for place in range(1, len(header["cells"])):
            there = [row for row in rows if "data-value" in row["cells"][place]["about"]]
            names = {row["cells"][0]["text"].split()[0] for row in there}
            found.append((header["cells"][place]["text"], names))
    return found


def share(page: str, heading: str) -> bool:
    return any(len(names) == 2 for title, names in together(page) if title.startswith(heading))


CHANGES: dict[str, tuple[dict[str, Any], bool, bool]] = {
    "nothing": ({}, True, True),
    "task": ({"task": "outpaint"}, False, False),
    "view size": ({"images": {"height": 128, "width": 128}}, False, False),
    "number of samples": ({"num_samples": 6}, False, False),
    "samples": ({"images": {"samples": [f"hall{i}" for i in range(8)]}}, False, False),
    "smoothed by a panorama": ({"images": {"cut_from": [64, 128]}}, False, False),
    "real views": ({"reference": {"sha256": "d" * 64}}, False, False),
    "seed": ({"settings": {"seed": 1}}, False, False),
    "version": ({"psnr": {"version": 2}}, False, True),
    "marks": ({"psnr": {"protocol": "paper-consistency-pano@256"}}, False, True),
    "weights": ({"weights": "bbbb"}, True, False),
    "packages of the network": ({"network": {"packages": {"timm": "9"}}}, True, False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_two_numbers_share_a_column_only_if_they_compare(tmp_path: Path, name: str) -> None:
    changes, psnr, fid = CHANGES[name]
    page = make(tmp_path, score("mine"), score("yours", 21.0, **changes))
    assert (share(page, "cross-view PSNR"), share(page, "FID")) == (psnr, fid)


def test_equal_scores_give_equal_bytes(tmp_path: Path) -> None:
    assert make(tmp_path, score("mine")) == make(tmp_path, score("mine"))


REASONS = {
    "view size": "height is 64, but 128 in",
    "number of samples": "num_samples is 8, but 6 in",
    "real views": "was compared with other real views (sha256 cccccccccccc…) than",
    "seed": "was scored with seed 0, but",
    "version": "The same images by paper-consistency-pano v2, paper-pano v1: another protocol.",
    "weights": "fid has extractor network (aaaa), but network (bbbb) in",
    "packages of the network": "fid is by network (aaaa) with packages",
}


@pytest.mark.parametrize("name", REASONS)
def test_the_page_says_why_not(tmp_path: Path, name: str) -> None:
    page = make(tmp_path, score("mine"), score("yours", **CHANGES[name][0]))
    texts = " ".join(" ".join(group["text"].split()) for group in Page(page).measured())
    said = REASONS[name].replace("with packages", "with timm")
    assert said in texts
    assert str(tmp_path) not in page, "whose folders these are is nobody's business"


def test_no_two_of_many_share_a_column_against_a_rule_written_out(tmp_path: Path) -> None:
    """40 files that differ at random in 6 respects; PSNR does not depend on the network."""
    draw = random.Random(0)
    keys, contents = {}, []
    for number in range(40):
        size, count, real = draw.choice([64, 128]), draw.choice([6, 8]), draw.choice("cd")
        version, weights = draw.choice([1, 2]), draw.choice(["aaaa", "bbbb"])
        seed = draw.choice([0, 1])
        name = f"m{number}"
        of_images = (size, count, real, seed)
        keys[name] = {"cross-view": (*of_images, version), "FID": (*of_images, weights)}
        contents.append(
            score(
                name, 20.0 + number, num_samples=count, images={"height": size, "width": size},
                reference={"sha256": real * 64}, psnr={"version": version}, weights=weights,
                settings={"seed": seed},
            )
        )  # fmt: skip
    columns = together(make(tmp_path, *contents))
    for metric in ("cross-view", "FID"):
        seen: dict[Any, set[str]] = {}
        for title, names in columns:
            if title.startswith(metric):
                (key,) = {keys[name][metric] for name in names}
                assert key not in seen, "and all that compare share one"
                seen[key] = names
        assert sum(map(len, seen.values())) == 40


def test_controls_of_fewer_samples_have_a_table_of_their_own(tmp_path: Path) -> None:
    page = make(tmp_path, score("mine"), score("wrong_correspondence", num_samples=4))
    assert not share(page, "cross-view PSNR")
    rows = [row for group in Page(page).measured() for row in group["rows"]]
    control = [row["class"] for row in rows if "(control)" in row["cells"][0]["text"]]
    assert control == ["unranked"] * 2


def board(*cells: tuple[float, float | None, str], better: bool | None = True) -> list[str]:
    """Marks of entries, each a number, half its interval, and why it has no rank."""
    entries = [
        Entry("m", "", unranked, (
            Cell("", value, *((value - half, value + half) if half is not None else (None, None))),
        ))
        for value, half, unranked in cells
    ]  # fmt: skip
    return [entry.cells[0].mark for entry in marked([Column("", "", better)], entries)]


def test_the_best_is_marked_where_it_is_certain() -> None:
    assert board((3, 0.4, ""), (2, 0.4, ""), (1, 0.4, "")) == ["best", "", ""]
    assert board((3, 0.6, ""), (2, 0.6, ""), (1, 0.2, "")) == ["tied", "tied", ""]
    assert board((3, 0.4, ""), (2, 0.4, ""), better=False) == ["", "best"]
    assert board((3, 0.4, ""), (2, 0.4, ""), better=None) == ["", ""]
    assert board((3, 0.4, "")) == [""]
    assert board((3, None, ""), (2, 0.1, "")) == ["", ""]
    assert board((9, 0.1, "upper bound"), (3, 0.4, ""), (2, 0.4, "")) == ["", "best", ""]
    # The best touches the second, which touches the third: the third is not tied with the best.
    assert board((3, 0.6, ""), (2, 0.5, ""), (1.2, 0.4, "")) == ["tied", "tied", ""]


def test_intervals_that_do_not_meet_differ_however_they_are_correlated() -> None:
    """By the paired t-test of SciPy, for correlations from -1 to 1 and unequal spreads."""
    rng, certain = np.random.default_rng(0), 0
    for _ in range(300):
        count = int(rng.integers(3, 30))
        correlation, gap = rng.uniform(-1, 1), rng.uniform(0, 3)
        one, noise = rng.normal(size=(2, count))
        other = gap + rng.uniform(0.2, 3) * (
            correlation * one + np.sqrt(1 - correlation**2) * noise
        )
        half = [stats.sem(x) * stats.t.ppf(0.975, count - 1) for x in (one, other)]
        cells = [(float(x.mean()), float(h), "") for x, h in zip((one, other), half, strict=True)]
        if "best" in board(*cells):
            certain += 1
            assert stats.ttest_rel(one, other).pvalue < 0.05
    assert certain > 50


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ({"constant": 2, "near_constant": 1}, "3 constant images"),
        ({"repeated": 5}, "5 repeated images"),
        ({"undefined": ["room0"]}, "1 samples without consistency"),
    ],
)
def test_degenerate_methods_are_never_the_best(
    tmp_path: Path, faults: dict[str, Any], said: str
) -> None:
    """Black panoramas agree perfectly; they are shown, and take no rank."""
    others = [score("mine", 20.0), score("yours", 21.0)]
    page = make(tmp_path, score("black", 90.0, faults=faults), *others)
    rows = {
        row["cells"][0]["text"].split()[0]: row
        for group in Page(page).measured()
        if "paper-consistency" in group["about"]["data-title"]
        for row in group["rows"][1:]
    }
    assert rows["black"]["class"] == "unranked"
    assert said in rows["black"]["cells"][0]["text"]
    assert "best" not in rows["black"]["cells"][1]["text"]
    assert "best" in rows["yours"]["cells"][1]["text"]


def test_real_images_under_another_name_take_no_rank(tmp_path: Path) -> None:
    copied = score("copied", 90.0, images={"sha256": "c" * 64}, reference={"sha256": "c" * 64})
    page = Page(make(tmp_path, copied, score("mine", 20.0), score("yours", 21.0)))
    rows = [row for group in page.measured() for row in group["rows"][1:]]
    own = [row for row in rows if row["cells"][0]["text"].startswith("copied")]
    assert own
    assert all("(real images)" in row["cells"][0]["text"] for row in own)
    assert not any(
        "best" in cell["text"] or "tied" in cell["text"] for r in own for cell in r["cells"]
    )


def test_warnings_of_scoring_are_shown(tmp_path: Path) -> None:
    about = ["fid: is of few", "smooth images <b>", "other_metric: unrelated"]
    page = make(tmp_path, score("mine", warnings=about), score("yours", warnings=about[:1]))
    groups = {g["about"]["data-title"]: g["text"] for g in Page(page).measured()}
    assert "mine, yours: fid: is of few" in groups["paper-pano v1"]
    assert "fid: is of few" not in groups["paper-consistency-pano v1"]
    assert all("mine: smooth images <b>" in text for text in groups.values())


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</td></tr></table><h1>first</h1>",
    "=HYPERLINK(evil)",
    "{{ 7 * 7 }}{% raw %}",
    "\u202etsrif",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_what_strangers_write_is_text(tmp_path: Path, name: str) -> None:
    """Name of the method, protocol, network, warning and file, of an artifact and a score file."""
    content = score(
        name, weights=name, psnr={"protocol": name}, warnings=[name], fid={"unit": name}
    )
    text = make(tmp_path, content, score("yours"), artifacts=(0,))
    page, plain = Page(text), Page(make(tmp_path, score("mine"), score("yours")))
    assert page.scripts == plain.scripts
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in plain.tags}
    assert not [key for _, about in page.tags for key in about if key.startswith("on")]
    shown = [
        row["cells"][0]["text"].strip().startswith(name)
        for group in page.measured()
        for row in group["rows"]
    ]
    assert any(shown), "and still there to read"
    assert "<bdi>" in text, "letters that turn the direction of writing turn their own name alone"


def test_the_page_runs_its_own_script_alone_and_loads_nothing(tmp_path: Path) -> None:
    page = Page(make(tmp_path, score()))
    (script,) = page.scripts
    (policy,) = [
        about["content"] for tag, about in page.tags if "Content-Security-Policy" in about.values()
    ]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )
    assert not [a for _, about in page.tags for a in about if a in ("src", "href", "action")]


def test_tables_can_be_read_aloud_and_by_keyboard(tmp_path: Path) -> None:
    page = Page(make(tmp_path, score("mine"), score("yours")))
    for group in page.groups:
        header, *rows = group["rows"]
        assert {cell["about"].get("scope") for cell in header["cells"]} == {"col"}
        assert all(row["cells"][0]["about"].get("scope") == "row" for row in rows)
        assert {len(row["cells"]) for row in group["rows"]} == {len(header["cells"])}
    regions = [about for _, about in page.tags if about.get("role") == "region"]
    assert all(about["tabindex"] == "0" and about["aria-label"] for about in regions)
    ids = [about["id"] for _, about in page.tags if "id" in about]
    assert len(ids) == len(set(ids))
    assert "aria-sort" in page.scripts[0]


def test_published_tables_keep_their_digits_and_their_corrections(tmp_path: Path) -> None:
    page = Page(make(tmp_path))
    about = [group["about"] for group in page.groups]
    keys = [(each.get("data-task"), each.get("data-title")) for each in about]
    found = dict(zip(keys, page.groups, strict=True))
    for table in published_tables():
        group = found[table.task, f"Published: {table.cite}"]
        header, *rows = group["rows"]
        shown = {
            row["cells"][0]["text"]: [cell["text"] for cell in row["cells"][1:]] for row in rows
        }
        assert shown == {m: [n or "–" for n in numbers] for m, numbers in table.rows.items()}
        for column, cell in zip(table.columns, header["cells"][1:], strict=True):
            assert ("data-sortable" in cell["about"]) == (column not in table.invalid)
        text = " ".join(group["text"].split())
        assert all(" ".join(note.split()) in text for note in table.footnotes[1:])
        assert {"best", "tied"}.isdisjoint(text.split())
    assert len(found) == len(published_tables()) + 1  # and the medals


def test_medals_are_for_score_files_and_not_for_what_is_submitted(tmp_path: Path) -> None:
    """The closed rule: 45.21 ± 2.5 by PanFusion's protocol on 1,092 panoramas."""
    content = score("external/panfusion")
    content["images"]["num_samples"] = 1092
    content["images"]["samples"] = [f"room{i}" for i in range(1092)]
    own = measurement(None, 44.0, protocol="panfusion-panorama", higher_is_better=False)
    content["metrics"] = {"panorama_fid": own}
    far = sealed(content | {"metrics": {"panorama_fid": own | {"value": 60.0}}})
    for given, artifacts, medal in (
        ([sealed(content)], (), "reproduced"),
        ([far], (), "runs"),
        ([far, sealed(content)], (), "reproduced"),
        ([sealed(content)], (0,), "numbers on record"),
    ):
        page = Page(make(tmp_path, *given, artifacts=artifacts))
        rows = {r["cells"][0]["text"]: r["cells"][1]["text"] for r in page.groups[-1]["rows"]}
        assert rows["PanFusion"] == medal
        assert len(rows) == len(specification_names()) + 1


def artifact(path: Path, write: Callable[[zipfile.ZipFile], Any]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        write(archive)
    return path


def test_of_an_artifact_the_score_file_alone_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    members = {"scores.json": json.dumps(score()), "images/room0/0.png": "x", "manifest.json": "{"}
    path = artifact(tmp_path / "a.zip", lambda z: [z.writestr(*each) for each in members.items()])
    assert read_submission(path).method == "mine"
    artifact(path, lambda z: [z.writestr("../escaped.txt", "x"), z.writestr("scores.json", "{}")])
    with pytest.raises(InputError, match="leads out of the folder"):
        read_submission(path)
    assert [each.name for each in tmp_path.iterdir()] == ["a.zip"]


BROKEN: dict[str, tuple[Callable[[zipfile.ZipFile], Any], str]] = {
    "no scores": (lambda z: z.writestr("other.json", "{}"), "none of the expected files"),
    "no JSON": (lambda z: z.writestr("scores.json", "{"), "not valid JSON"),
    "deep": (lambda z: z.writestr("scores.json", "[" * 200_000), "not valid JSON"),
    "no mapping": (lambda z: z.writestr("scores.json", "[1]"), "is no mapping"),
    "no score file": (lambda z: z.writestr("scores.json", "{}"), "is not a score file"),
    "a key twice": (lambda z: z.writestr("scores.json", '{"a": 1, "a": 2}'), "key is there twice"),
    "large": (lambda z: z.writestr("scores.json", b"0" * 2_000_000), "more than 1,000,000 bytes"),
    "NaN": (
        lambda z: z.writestr("scores.json", json.dumps(score() | {"x": float("nan")})),
        "NaN is not a number",
    ),
    "edited": (
        lambda z: z.writestr("scores.json", json.dumps(score() | {"method": "better"})),
        "was changed",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_artifacts_get_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(submissions, "MAX_JSON_BYTES", 1_000_000)
    write, message = BROKEN[name]
    path = artifact(tmp_path / "a.zip", write)
    with pytest.raises(InputError, match=message) as found:
        write_leaderboard([path], tmp_path / "page.html")
    assert str(found.value).startswith(f"{path}: ")
    assert not (tmp_path / "page.html").exists()


def test_two_score_files_in_an_artifact_are_refused(tmp_path: Path) -> None:
    """Programs differ in which of two members of one name they take."""
    path = tmp_path / "a.zip"
    with pytest.warns(UserWarning, match="Duplicate"):
        artifact(path, lambda z: [z.writestr("scores.json", "{}") for _ in range(2)])
    with pytest.raises(InputError, match=r"to the place of 'scores\.json'"):
        read_submission(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no zip"])
def test_what_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.zip: "):
        read_submission(tmp_path / "a.zip")


def test_a_submission_cannot_turn_a_column_around(tmp_path: Path) -> None:
    """One that says that less is better would otherwise be the best with the least."""
    other = score("a", 10.0, psnr={"higher_is_better": False})
    page = Page(make(tmp_path, score("mine"), score("yours", 30.0), other, artifacts=(2,)))
    groups = [g for g in page.measured() if "paper-consistency" in g["about"]["data-title"]]
    rows = [[row["cells"][0]["text"].split()[0] for row in g["rows"][1:]] for g in groups]
    assert sorted(map(sorted, rows)) == [["a"], ["mine", "yours"]]


WRONG: tuple[Any, ...] = (None, [], {}, "x", -1, 10**400, True)


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), len(WRONG) + 1])
def test_sealed_nonsense_gets_one_clear_error_or_a_page(tmp_path: Path, step: int) -> None:
    """Anybody can seal anything: each part in turn is replaced by each kind of JSON value.

    A step of one more than the kinds takes every part once, and the kinds in turn.
    """
    refused, cases = 0, 0
    whole = score("mine")
    places: list[tuple[str, ...]] = [(key,) for key in whole if key != "sha256"]
    for outer in ("images", "extractors", "settings", "reference"):
        places += [(outer, key) for key in whole[outer]]
    places += [("metrics", "fid", key) for key in whole["metrics"]["fid"]]
    places += [("metrics", "fid"), ("faults", "undefined"), ("faults", "constant")]
    other = tmp_path / "other.json"
    other.write_text(json.dumps(score("yours")))
    for number, (place, wrong) in list(enumerate(itertools.product(places, WRONG)))[::step]:
        cases += 1
        content = json.loads(json.dumps(whole))
        part = content
        for key in place[:-1]:
            part = part[key]
        part[place[-1]] = wrong
        text = json.dumps(sealed(content))
        path = artifact(tmp_path / f"{number}.zip", lambda z, t=text: z.writestr("scores.json", t))
        said = None
        try:
            write_leaderboard([other, path], tmp_path / "page.html")
        except InputError as error:
            said = str(error)
        assert said is None or str(path) in said
        refused += said is not None
    assert refused > cases / 3


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["leaderboard", str(tmp_path), "--output", str(tmp_path / "page.html")])
    assert ended.value.code == 2
    assert "expected the results of a run" in capsys.readouterr().err


def test_numbers_on_record_are_those_of_the_run(tmp_path: Path) -> None:
    write_leaderboard([ROOT / REFERENCE[1]], tmp_path / "page.html")
    groups = [
        g
        for g in Page((tmp_path / "page.html").read_text()).groups
        if "comparison" in str(g["about"])
    ]
    numbers = json.loads((ROOT / REFERENCE[1] / "tables/numbers.json").read_text())
    shown = 0
    for group in groups:
        for row in group["rows"][1:]:
            for cell in row["cells"][1:]:
                if value := cell["about"].get("data-value"):
                    known = [
                        number * scale
                        for own in numbers[group["about"]["data-task"]].values()
                        for number in own.values()
                        for scale in (1, 1e3)
                    ]
                    assert float(value) in known
                    shown += 1
    assert shown > 300
    (repaint,) = [
        r for g in groups for r in g["rows"] if r["cells"][0]["text"].startswith("RePaint")
    ][:1]
    assert repaint["class"] == "unranked", "some of its images are repeated"


def test_the_page_of_the_documentation_is_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else: mvdiffusion-eval leaderboard results/reference/{mini,comparison} --output …"""
    monkeypatch.chdir(ROOT)
    write_leaderboard(list(map(Path, REFERENCE)), tmp_path / "page.html")
    page = ROOT / "docs/leaderboard.html"
    assert page.read_text() == (tmp_path / "page.html").read_text()
    assert page.stat().st_size < 300_000
