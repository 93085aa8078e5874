"""The results page: what stands where, that it needs nothing else, and what it does not claim."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mvdiffusion_eval.cli import main

pytestmark = pytest.mark.long

VOID = ("meta", "img", "link", "br", "input", "path", "rect")


class Elements(HTMLParser):
    """Collects what a page loads, links to and shows; checks that its elements are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.alts: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.loads += [
            given[key] or "" for key in ("src", "data-src", "data-difference") if key in given
        ]
        self.loads += [given["href"] or ""] if tag == "link" else []
        self.links += [given["href"] or ""] if tag == "a" else []
        self.ids += [given["id"] or ""] if "id" in given else []
        if tag == "img":
            self.alts.append(given["alt"] or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def text(page: Path) -> str:
    return page.read_text()


@pytest.fixture(scope="module")
def elements(text: str) -> Elements:
    return Elements(text)


def test_the_page_loads_nothing_from_elsewhere(text: str, elements: Elements) -> None:
    assert elements.loads
    assert all(value.startswith("data:image/") for value in elements.loads)
    outside = {link for link in elements.links if re.match("[a-z]+:|//", link)}
    assert {"https://arxiv.org/abs/2307.01097"} <= outside
    assert all(re.match("https://(arxiv.org/abs|github.com)/", link) for link in outside)
    inside = {link for link in elements.links if link.startswith("#")}
    assert inside <= {f"#{name}" for name in elements.ids}
    assert len(set(elements.ids)) == len(elements.ids)
    assert text.count('href="boards/leader%20%26%20board.html"') == 2


def test_verdicts_come_first_then_pictures_then_numbers_then_the_run(text: str) -> None:
    heads = re.findall(r'<h2 id="([\w-]+)">', text)
    tasks = ["panorama", "outpaint", "depth"]
    assert heads == ["verdicts", *tasks, "numbers", "published", "reading", "run"]
    assert text.index('id="depth"') < text.index("<table")
    assert text.index('class="overlaps"') < text.index('id="numbers"')


def test_verdicts_are_told_in_a_sentence(text: str) -> None:
    assert text.count('<article class="card">') == 7
    told = re.search(r"Of 7 claims about the method in this run: <b>([^<]+)</b>", text)
    assert told
    counts = [int(number) for number in re.findall(r"\d+", told[1])]
    assert sum(counts) == 7
    assert text.count('class="verdict holds"') == counts[0]
    verdict = "holds|does[- ]not[- ]hold|undecided|not[- ]run"
    for words in re.findall(f'<b class="(?:{verdict})">([^<]+)</b>', text):
        assert re.search(rf": ({verdict})( \(.+\))?$", words), words
    assert " :" not in "".join(re.findall(r"<li>.*?</li>", text))


def test_the_page_shows_numbers_and_what_made_them(text: str, scores: Path) -> None:
    for words in ("&lt;toy&gt; &amp; co", "13 s · 0.5 GiB", "<span>train (2 steps)</span>"):
        assert words in text
    assert "All steps together took 1 min 3 s." in text
    assert "At least one of them was running for 30 s," in text
    score = json.loads((scores / "mvdiffusion.json").read_text())
    assert f"{score['metrics']['cross_view_psnr']['value']:.1f} dB" in text
    assert "not comparable with ours" in text
    assert text.count("Accumulation of errors") == 1
    assert text.count('class="steps"') == 1
    assert "<dt>data.embedded_md5</dt><dd>0123abcd.dir</dd>" in text
    assert f"<td>{score['images']['sha256']}</td><td>{'a' * 64}</td>" in text
    assert "as published" not in text, "published numbers stand in columns"


def test_every_method_can_be_looked_at(text: str) -> None:
    assert text.count('<div class="look-around">') == 1
    assert "Not all methods are here; not shown: CAA, wrong correspondences." in text
    assert text.count("not shown:") == 1
    assert text.count("<canvas") == 2 * 3  # two walks: depth and two methods
    title = r"<h4>\w+, (views|frames) (\d) and (\d)(: here the loop closes)?</h4>"
    closes = ": here the loop closes"
    assert re.findall(title, text) == [
        ("views", "0", "1", ""),
        ("views", "7", "0", closes),
        ("frames", "0", "3", ""),
        ("frames", "3", "6", ""),
    ]
    assert text.count('data-method="mine"') == 2


def test_pictures_are_told_in_words(elements: Elements) -> None:
    """Pictures of buttons, and those that a script fills, have their words elsewhere."""
    told = [alt for alt in elements.alts if alt]
    assert len(told) >= 8
    for alt in told:
        assert not re.search(r"_|\.(png|jpg|svg)|psnr per pair|overview panorama", alt), alt
        assert len(alt) > 30
    assert any("Real views" in alt and "MVDiffusion" in alt for alt in told)


def test_a_run_with_a_banner_claims_nothing(write: Callable[..., Path]) -> None:
    text = write("smoke", banner="shows <nothing>").read_text()
    Elements(text)
    assert '<p class="banner" role="note">shows &lt;nothing&gt;</p>' in text
    assert "Nothing is claimed" in text
    body = text[text.index("<body>") :]
    for words in (
        "holds</span>",
        "undecided</span>",
        "Further observations",
        "better FID",
        "Bold:",
    ):
        assert words not in body
    assert not re.search(r"<td><b>", body)


def test_a_compact_page_links_its_figures_and_shows_one_sample(
    write: Callable[..., Path], page: Path
) -> None:
    compact = write("compact", "--compact")
    text, elements = compact.read_text(), Elements(compact.read_text())
    files = {load for load in elements.loads if not load.startswith("data:")}
    assert "figures/psnr_per_pair_panorama.png" in files
    assert all((compact.parent / file).is_file() for file in files)
    assert len(text) < len(page.read_text())
    assert text.count("<canvas") == 3
    assert len([*(compact.parent / "compact_assets").glob("panorama-*.js")]) == 1


def test_a_missing_table_is_one_error(
    figures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text("name: x\n")
    (tmp_path / "metrics.json").write_text('{"panorama": {}, "claims": {}}')
    with pytest.raises(SystemExit):
        main(
            [
                *("report", "--tables", str(tmp_path), "--figures", str(figures)),
                *("--metrics", str(tmp_path / "metrics.json")),
                *("--config", str(tmp_path / "config.yaml"), "--output", str(tmp_path / "r.html")),
            ]
        )
    expected = "tables.json: no such file; make it with `mvdiffusion-eval tables`"
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()
