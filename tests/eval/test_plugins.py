"""Plug-ins: the example package, found by its entry points as if it were installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from PIL import Image

from mvdiffusion.records import InputError
from mvdiffusion_eval import plugins
from mvdiffusion_eval.folders import methods
from mvdiffusion_eval.protocols import names
from mvdiffusion_eval.protocols import protocol as protocols
from mvdiffusion_eval.protocols.protocol import read_protocols

EXAMPLE = Path(__file__).parent / "example_plugin"
READ = """
import json, sys
import mvdiffusion_eval
from mvdiffusion_eval.protocols.listing import protocol_rows
from mvdiffusion_eval.folders.methods import display_name
result = mvdiffusion_eval.score(sys.argv[1], protocols=["colors", "paper-consistency-pano"])
rows = {row["name"]: row for row in protocol_rows()}
print(json.dumps([result, rows["colors"], display_name("strips")]))
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """What an installer leaves of the package's entry points, beside its code."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    metadata = tmp_path / "site" / "example_plugin-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return metadata.parent


def by_hand(views: np.ndarray) -> float:
    """Mean over views of sqrt(variances) + 0.3 sqrt(squared means) of red-green, yellow-blue."""
    found = []
    for view in views.astype(float):
        rg = view[..., 0] - view[..., 1]
        yb = 0.5 * (view[..., 0] + view[..., 1]) - view[..., 2]
        spread = np.sqrt(rg.var() + yb.var())
        found.append(spread + 0.3 * np.sqrt(rg.mean() ** 2 + yb.mean() ** 2))
    return float(np.mean(found))


@pytest.mark.long
def test_the_example_adds_a_metric_a_protocol_and_a_method(installed: Path, tmp_path: Path) -> None:
    strips = tmp_path / "out"
    strips.mkdir()
    samples = toy.real_samples(2)
    for name, views in samples.items():
        Image.fromarray(np.concatenate(list(views), 1)).save(strips / f"{name}.strip.png")
    places = [str(installed), str(EXAMPLE), *filter(None, sys.path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    ran = subprocess.run(
        [sys.executable, "-c", READ, str(strips)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    result, row, title = json.loads(ran.stdout.splitlines()[-1])
    assert (result["method"], title) == ("strips", "Panoramas in strips")
    found = result["metrics"]["colorfulness"]
    assert (found["protocol"], found["version"]) == ("colors", 1)
    np.testing.assert_allclose(found["values"], [by_hand(views) for views in samples.values()])
    assert result["metrics"]["cross_view_psnr"]["value"] > 40
    assert any("'color_fid' was not measured" in warning for warning in result["warnings"])
    assert row["source"] == "Hasler and Süsstrunk, 2003"


class Entry:
    """An entry point that may fail to load."""

    value, dist = "broken:THING", None

    def __init__(self, name: str, thing: Any) -> None:
        self.name, self.thing = name, thing

    def load(self) -> Any:
        if isinstance(self.thing, Exception):
            raise self.thing
        return self.thing


def entries(monkeypatch: pytest.MonkeyPatch, **things: Any) -> None:
    monkeypatch.setattr(
        plugins, "entry_points", lambda group: [Entry(*item) for item in things.items()]
    )


def test_a_plug_in_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entries(monkeypatch, bad=ImportError("No module named 'broken'"))
    with pytest.raises(InputError, match=r"plug-in 'bad' .* No module named 'broken'"):
        plugins.load_plugins("metrics")


def test_a_plug_in_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    entries(monkeypatch, seven=7)
    with pytest.raises(InputError, match=r"'seven': expected an mvdiffusion_eval\.Metric, got int"):
        protocols.metrics.__wrapped__()
    with pytest.raises(InputError, match=r"'seven': expected an mvdiffusion_eval\.Method, got int"):
        methods.methods.__wrapped__()


def test_a_method_does_not_take_anothers_name(monkeypatch: pytest.MonkeyPatch) -> None:
    entries(monkeypatch, mine=methods.Method("real", "Mine"))
    with pytest.raises(InputError, match="'real' is already registered"):
        methods.methods.__wrapped__()


def test_a_protocol_does_not_take_anothers_name(monkeypatch: pytest.MonkeyPatch) -> None:
    protocols.metrics()  # known before there are these entries
    entries(monkeypatch, again=names.DEFINITIONS / "paper.yaml")
    with pytest.raises(InputError, match="there already is a protocol 'paper-pano'"):
        protocols.protocols.__wrapped__()


GOOD = {
    "name": "mine",
    "version": 1,
    "tasks": ["panorama"],
    "source": "me",
    "measures": "what I like",
    "metrics": {"inception_score": {"extractors": ["inception-v3"], "splits": 5}},
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 0}, r"'0\.version' is 0; expected a whole number, at least 1"),
        ({"tasks": ["video"]}, r"'0\.tasks\.0' is 'video'; expected one of 'panorama'"),
        ({"nmae": "x"}, r"unknown setting '0\.nmae'; did you mean 'name'"),
        ({"metrics": {}}, r"'0\.metrics' is \{\}; expected a mapping .*at least 1 entries"),
        ({"metrics": {"fit": {}}}, "unknown metric 'fit'; did you mean 'fid'"),
        ({"metrics": {"fid": {"split": 3}}}, r"options of 'fid' \(none\), got split"),
        ({"metrics": {"inception_score": {}}}, r"\(splits\), got none"),
        ({"metrics": {"fid": {"extractors": ["inception"]}}}, "did you mean 'inception-v3'"),
        ({"images": {"of": "crops", "directions": "level_9", "size": 299}},
         r"images\.directions' is 'level_9'; expected one of 'level_8'"),
        ({"images": {"of": "crops", "directions": "level_8"}}, "crops with directions and size"),
        ({"images": {"of": "faces"}}, r"images\.of' is 'faces'; expected one of"),
        ({"images": {"of": "views", "size": 299}}, "crops with directions and size"),
        ({"images": {"of": "crops", "directions": "level_8", "size": "third"}},
         r"images\.size' is 'third'; expected a whole number"),
        ({"images": {"of": "crops", "directions": "level_8", "size": 0}}, r"images\.size' is 0"),
        ({"images": {"of": "crops", "directions": "level_8", "size": 9, "fov_deg": 180}},
         r"images\.fov_deg' is 180; expected a number, above 0 and below 180"),
        ({"images": {"of": "crops", "directions": "level_8", "size": 9, "pitch": 0}},
         r"unknown setting '0\.images\.pitch'"),
        ({"metrics": {"fid": {"extractors": [], "images": {"of": "views"}}}},
         r"'metrics\.fid\.extractors' is \[\]; expected a list"),
    ],
)  # fmt: skip
def test_wrong_protocols_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(json.dumps([{**GOOD, **change}]))
    with pytest.raises(InputError, match=message) as error:
        read_protocols(file)
    assert str(file) in str(error.value)


def test_a_good_protocol_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(json.dumps([GOOD]))
    (protocol,) = read_protocols(file)
    assert (protocol.name, protocol.extractors) == ("mine", ["inception-v3"])
    assert protocol.steps[0].options == {"splits": 5}
    file.write_text("- {")
    with pytest.raises(InputError, match="could not be read as protocols"):
        read_protocols(file)
