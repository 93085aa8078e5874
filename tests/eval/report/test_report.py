"""Figures: contact sheets, charts, and what the viewers of the page get."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import toy
import walks
from PIL import Image
from scipy import stats

from mvdiffusion.records import InputError
from mvdiffusion_eval.cli import main
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.report.contact_sheets import LABEL_LINE, row_label, shared_samples
from mvdiffusion_eval.report.figures import _panel, read_curve
from mvdiffusion_eval.report.overview import draw_overview, overview_table
from mvdiffusion_eval.report.viewers import not_shown, shown_in_viewers, sprite_of
from mvdiffusion_eval.scoring.score_files import Score
from mvdiffusion_eval.tables.columns import DISTANCES, OMNIFID, QUALITY, measured_columns

pytestmark = pytest.mark.long


def test_figures_are_byte_identical(
    figures: Path, draw: Callable[[Path], Path], tmp_path: Path
) -> None:
    again = draw(tmp_path / "figures")
    names = sorted(path.name for path in figures.iterdir())
    assert names == sorted(path.name for path in again.iterdir())
    for task in ("panorama", "outpaint", "depth"):
        assert f"contact_sheet_{task}.png" in names
        assert f"psnr_per_pair_{task}.svg" in names
        assert f"overview_{task}.svg" in names
    assert "error_accumulation_panorama.svg" in names
    assert "ring_panorama.png" in names
    for name in names:
        assert (figures / name).read_bytes() == (again / name).read_bytes()


def test_the_numbers_behind_figures_are_written(figures: Path, scores: Path) -> None:
    with open(figures / "psnr_per_pair_panorama.csv") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["method", "pair", "psnr_db", "se"]
    assert len(rows) == 6 * 8
    closing = next(r for r in rows if (r["method"], r["pair"]) == ("autoregressive_latent", "7-0"))
    score = json.loads((scores / "autoregressive_latent.json").read_text())["metrics"]
    expected = score["cross_view_psnr_closing"]["value"]
    assert float(closing["psnr_db"]) == pytest.approx(expected)
    with open(figures / "training_curves.csv") as file:
        curve = list(csv.DictReader(file))
    assert (len(curve), curve[-1]["loss"]) == (20, "0.5")


def test_the_overview_has_the_numbers_of_the_tables_with_intervals(
    figures: Path, scores: Path
) -> None:
    with open(figures / "overview_panorama.csv") as file:
        rows = list(csv.DictReader(file))
    found = {(row["metric"], row["method"]): row for row in rows}
    assert next(iter(found)) == (
        "fid",
        "vae_reconstruction",
    )  # real views have no distance from themselves
    assert {method for _, method in found} == {
        *("real", "vae_reconstruction", "mvdiffusion", "autoregressive_latent", "independent")
    }, "the control covers fewer samples"
    for metric in ("fid", "cross_view_psnr", "cross_view_psnr_closing", "per_step_psnr"):
        row = found[metric, "mvdiffusion"]
        score = json.loads((scores / "mvdiffusion.json").read_text())["metrics"][metric]
        reach = stats.t.isf(0.025, len(score["values"]) - 1) * score["se"]
        expected = (score["value"], score["value"] - reach, score["value"] + reach)
        assert [float(row[key]) for key in ("value", "low", "high")] == pytest.approx(expected)
        assert row["higher_is_better"] == str(score["higher_is_better"])


def test_the_overview_shows_every_method_in_its_place(figures: Path) -> None:
    """Text of the SVG: names from top to bottom, a title per metric, better directions."""
    texts = re.findall(
        r"<text[^>]*>([^<]+)</text>", (figures / "overview_panorama.svg").read_text()
    )
    names = ["Real views", "VAE reconstruction", "MVDiffusion"]
    first = [text for text in texts if text in names][:3]
    assert first == names
    with open(figures / "overview_panorama.csv") as file:
        rows = list(csv.DictReader(file))
    better = {row["metric"]: row["higher_is_better"] for row in rows}
    assert texts.count("better →") == sum(value == "True" for value in better.values()) > 3
    assert texts.count("← better") == sum(value == "False" for value in better.values()) > 1
    assert "cross-view PSNR (dB)" in texts


def test_the_overview_draws_a_single_method_and_a_single_sample() -> None:
    """A method of no known name, one sample, hence no errors: dots alone."""
    metrics = {"fid": toy_measurement(3.0, None), "cross_view_psnr": toy_measurement(20.0, None)}
    content = {"task": "panorama", "method": "mine", "images": {"samples": ["a"]}}
    table = overview_table("panorama", {"mine": Score(Path("x"), content | {"metrics": metrics})})
    assert table["low"].isna().all()
    figure = draw_overview(table)
    panels = [axis for axis in figure.axes if axis.get_title("left")]
    assert [axis.get_title("left") for axis in panels] == ["FID", "cross-view PSNR (dB)"]
    dots = [line for axis in panels for line in axis.lines]
    assert [line.get_xdata()[0] for line in dots] == [3.0, 20.0]
    assert len({line.get_color() for line in dots}) == 1


def toy_measurement(value: float, se: float | None) -> dict:
    return {
        **{"value": value, "se": se, "values": [value], "higher_is_better": True},
        **{"protocol": "p", "version": 1, "unit": ""},
    }


def test_the_contact_sheet_shows_the_views_in_order(tmp_path: Path) -> None:
    """Eight plain views: eight equal areas of their colors, from left to right."""
    shades = [(30 * view, 255 - 30 * view, 90) for view in range(8)]
    views = np.stack([np.full((16, 16, 3), shade, np.uint8) for shade in shades])
    folder = toy.write_folder(tmp_path / "real", "real", {"room": views})
    toy.run(
        "figures",
        "--generated",
        f"panorama/real={folder}",
        "--output-dir",
        str(tmp_path / "figures"),
    )
    sheet = np.asarray(
        Image.open(tmp_path / "figures" / "contact_sheet_panorama.png").convert("RGB")
    )
    places = [np.nonzero((sheet == shade).all(-1)) for shade in shades]
    areas = [len(columns) for _, columns in places]
    inner = areas[1:-1]  # the outer two have no neighbor that the enlargement mixes in
    assert min(inner) > 0.9 * max(inner) > 2000
    middles = [columns.mean() for _, columns in places][1:-1]
    assert np.ptp(np.diff(middles)) < 0.05 * np.diff(middles).mean()


def test_the_contact_sheet_shows_every_method_in_the_order_of_the_tables(tmp_path: Path) -> None:
    """Fifteen rows, given in another order: each as high as the others, in its own shade.

    Of two rooms, the control has one, and its row of the other is empty.
    """
    methods = (
        *("real", "vae_reconstruction", "inpainting", "panorama_finetune"),
        *("panorama_finetune_closed", "independent_base", "independent_finetuned", "independent"),
        *("autoregressive_latent", "multidiffusion", "syncdiffusion", "mvdiffusion"),
        *("ablation_one_cell", "wrong_correspondence", "mine"),
    )
    words = ["figures", "--output-dir", str(tmp_path / "figures")]
    for method in sorted(methods, reverse=True):
        views = np.full((8, 16, 16, 3), 8 + 16 * methods.index(method), np.uint8)
        rooms = ["a"] if method == "wrong_correspondence" else ["a", "b"]  # controls cover fewer
        folder = toy.write_folder(tmp_path / method, method, dict.fromkeys(rooms, views))
        words += ["--generated", f"panorama/{method}={folder}"]
    toy.run(*words)
    sheet = Image.open(tmp_path / "figures" / "contact_sheet_panorama.png").convert("RGB")
    column = np.asarray(sheet)[:, round(0.62 * sheet.width)]
    starts = np.flatnonzero(np.diff(column[:, 0].astype(int), prepend=-1))
    places = {8 + 16 * place: place for place in range(len(methods))}
    runs = [
        (places[column[top, 0]], top, end)
        for top, end in zip(starts, [*starts[1:], len(column)], strict=True)
        if column[top, 0] in places and end - top > 5
    ]
    lacks = methods.index("wrong_correspondence")
    second = [place for place in range(len(methods)) if place != lacks]
    assert [place for place, _, _ in runs] == [*range(len(methods)), *second]
    heights = [end - top for _, top, end in runs]
    assert min(heights) >= 0.9 * max(heights) > 50
    top_of = {place: top for place, top, _ in runs[len(methods) :]}
    pitch = top_of[1] - top_of[0]
    assert top_of[lacks + 1] - top_of[lacks - 1] == pytest.approx(2 * pitch, abs=2), "empty"


def test_an_odd_folder_takes_no_contact_sheet_and_no_viewer_away(tmp_path: Path) -> None:
    """It has one room of its own: its row is empty; nor does a control with few choose."""
    rooms = {"real": "abc", "odd": "x", "mvdiffusion": "abc", "wrong_correspondence": "a"}
    shades = {method: 30 + 50 * place for place, method in enumerate(rooms)}
    words, folders = ["figures", "--output-dir", str(tmp_path / "figures")], {}
    for method, names in rooms.items():
        views = np.full((8, 16, 16, 3), shades[method], np.uint8)
        root = toy.write_folder(tmp_path / method, method, dict.fromkeys(names, views))
        words += ["--generated", f"panorama/{method}={root}"]
        folders[method] = open_folder(root)
    toy.run(*words)
    sheet = Image.open(tmp_path / "figures" / "contact_sheet_panorama.png").convert("RGB")
    column = np.asarray(sheet)[:, round(0.62 * sheet.width), 0]
    assert (column == shades["real"]).sum() > 3 * 50
    assert (column == shades["mvdiffusion"]).sum() > 3 * 50
    assert not (column == shades["odd"]).any()
    there = shown_in_viewers("panorama", folders)
    assert not_shown(rooms, there) == "; not shown: odd"


@pytest.mark.parametrize(
    ("rooms", "shared"),
    [
        ({"real": "abcd", "mvdiffusion": "abcd"}, "abcd"),
        ({"real": "abcd", "mvdiffusion": "abcd", "wrong_correspondence": "ab"}, "abcd"),
        ({"real": "abcd", "mvdiffusion": "abcd", "ablation_one_cell": "ab"}, "abcd"),
        ({"real": "abcd", "mvdiffusion": "abcd", "mine": "xy"}, "abcd"),
        ({"real": "dcba", "mvdiffusion": "bcd", "mine": "dc"}, "cd"),
        ({"wrong_correspondence": "ab"}, "ab"),
        ({"mine": "a", "yours": "b"}, "ab"),
        ({}, ""),
    ],
)
def test_samples_are_shown_that_the_most_methods_have(rooms: dict[str, str], shared: str) -> None:
    assert shared_samples(rooms) == list(shared)


def test_rows_say_what_is_no_method_like_the_others() -> None:
    assert row_label("real") == "Real views"
    assert row_label("mine") == "mine"
    assert row_label("mvdiffusion") == "MVDiffusion"
    roles = {"vae_reconstruction": "upper bound", "wrong_correspondence": "control"}
    for method, role in {**roles, "ablation_one_cell": "ablation"}.items():
        assert row_label(method).splitlines()[-1] == f"({role})"
    longest = row_label("independent_finetuned").splitlines()
    assert longest == ["Independent views,", "fine-tuned"]
    assert max(map(len, longest)) <= LABEL_LINE


def test_the_page_names_the_methods_that_have_no_viewer() -> None:
    given = ["wrong_correspondence", "mine", "real", "vae_reconstruction", "mvdiffusion"]
    note = not_shown(given, ["real", "mine", "mvdiffusion"])
    assert note == "; not shown: VAE reconstruction; CAA, wrong correspondences"
    assert not_shown(["mine"], ["mine"]) == ""


def test_the_sheet_of_sequences_shows_key_frames_then_an_interval(tmp_path: Path) -> None:
    """Plain frames: key frames 0, 3, 6 on the left, frames 0 to 3 on the right."""
    shades = [(35 * frame, 250 - 35 * frame, 90) for frame in range(7)]
    shape = (walks.HEIGHT, walks.WIDTH, 3)
    frames = np.stack([np.full(shape, shade, np.uint8) for shade in shades])
    folder = walks.write_folder(tmp_path / "real", "real", {"walk": frames})
    toy.run("figures", "--generated", f"depth/real={folder}", "--output-dir", str(tmp_path / "f"))
    sheet = np.asarray(Image.open(tmp_path / "f" / "contact_sheet_depth.png").convert("RGB"))
    row = sheet[np.nonzero((sheet == shades[6]).all(-1))[0].mean().astype(int)]
    seen = [frame for pixel in row for frame in range(7) if (pixel == shades[frame]).all()]
    order = [frame for i, frame in enumerate(seen) if i == 0 or seen[i - 1] != frame]
    assert order == [0, 3, 6, 0, 1, 2, 3]


def test_the_player_gets_every_frame_in_order() -> None:
    frames = np.stack([np.full((16, 16, 3), 30 * frame, np.uint8) for frame in range(7)])
    sprite = sprite_of(frames)
    assert (sprite["frames"], sprite["columns"]) == (7, 3)
    data = base64.b64decode(str(sprite["uri"]).partition(",")[2])
    picture = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    for frame in range(7):
        y, x = 16 * (frame // 3), 16 * (frame % 3)
        assert abs(picture[y : y + 16, x : x + 16] - 30 * frame).max() < 4


def test_a_label_must_name_the_folders_task(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in ("depth/real", "real"):
        with pytest.raises(SystemExit):
            main(
                [
                    *("figures", "--generated", f"{label}={world / 'real'}"),
                    *("--output-dir", str(tmp_path / "f")),
                ]
            )
        assert f"'{label}' is not TASK/METHOD" in capsys.readouterr().err


def test_unreadable_logs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 1, "los')
    for path in (tmp_path / "log.jsonl", tmp_path / "absent.jsonl"):
        with pytest.raises(InputError, match="not a training log"):
            read_curve("x", path)
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(InputError, match="contains no line"):
        read_curve("x", tmp_path / "log.jsonl")


def test_columns_of_further_extractors_follow_their_metric() -> None:
    names = [
        *("fid", "fid_vgg", "fd_dinov2", "clip_fid", "clip_fid_open", "kid", "kid_clip_fid"),
        *("omnifid", "omnifid_per_face", "omnifid_vgg", "omnifid_per_face_vgg", "per_step_fid"),
        *("panfusion_8_fid_vgg", "clip_score_vit-b", "panorama_clip_score"),
    ]
    further = ("open", "vgg", "vit-b", "clip_fid")
    repeats = {
        n: next((n.removesuffix(f"_{e}") for e in further if n.endswith(f"_{e}")), None)
        for n in names
    }
    made = {n: toy_measurement(1.0, None) | {"repeats": repeats[n]} for n in names}
    scores = [Score(Path("a.json"), {"metrics": made})]
    found = measured_columns(QUALITY | DISTANCES | OMNIFID, scores)
    assert set(found) == set(names) - {"per_step_fid"}
    assert list(found)[:3] == ["fid", "fid_vgg", "clip_score_vit-b"]
    assert found["omnifid_per_face_vgg"] == "OmniFID, mean over faces ↓, vgg"
    assert found["kid_clip_fid"] == "KID ↓, clip_fid"
    assert list(measured_columns({"kid": "KID ↓"}, scores)) == ["kid", "kid_clip_fid"]


def test_curves_of_a_metric_of_another_package_have_a_panel() -> None:
    places = [_panel(metric, None) for metric in ("psnr_db", "clip_score", "sharpness")]
    assert places == sorted(places)
    assert places[-1][1] == "sharpness"
    assert _panel("fid_vgg", "fid")[1].endswith(", vgg")
