"""Parts of pages as text, the page of one panorama, and the files of Pannellum."""

import hashlib
import json
import re
import tomllib
from pathlib import Path

from mvdiffusion.viewer import pages
from mvdiffusion.viewer.panoramas import panorama_of

from .conftest import plain

ROOT = Path(__file__).parents[2]
VENDORED = ROOT / "mvdiffusion/viewer/pannellum"


def test_pannellum_is_as_its_authors_published_it() -> None:
    """The package on npm has this hash, and these files had theirs when they were unpacked."""
    origin = json.loads((VENDORED / "origin.json").read_text())
    assert (origin["version"], origin["license"]) == ("2.5.7", "MIT")
    assert origin["source"].endswith("/pannellum/-/pannellum-2.5.7.tgz")
    assert origin["integrity"].startswith("sha512-AHMRYdLPxetwhBg4lO5EgoZ55C/")
    there = {path.name for path in VENDORED.iterdir()} - {"origin.json"}
    assert there == set(origin["files"])
    for name, file in origin["files"].items():
        found = hashlib.sha256((VENDORED / name).read_bytes()).hexdigest()
        assert found == file["sha256"], f"{name} was changed"
    assert "Pannellum 2.5.7," in (VENDORED / "pannellum.js").read_text()[:30]


def test_the_license_of_pannellum_goes_with_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "mvdiffusion/viewer/pannellum/COPYING" in project["license-files"]
    assert (VENDORED / "COPYING").read_text().strip() in pages.script()


def test_names_cannot_end_the_script_they_stand_in() -> None:
    sample = pages.Sample("</script><b>", "a<!--", ["<i>"], "a.js")
    shown = pages.look_around([sample], {"<i>": "<u>"}, "<i>", "<i>", "Room")
    (content,) = re.findall(r'<script type="application/json">(.*?)</script>', shown)
    assert json.loads(content)["samples"][0]["name"] == "</script><b>"
    text = pages.registration("</script>", {"a": panorama_of(plain((1, 2, 3)))})
    assert "</script>" not in text
    key, made = json.loads(f"[{text.removeprefix('registerPanoramas(').strip().rstrip(';')[:-1]}]")
    assert key == "</script>"
    assert set(made["a"]) == {"jpeg", "haov", "vaov", "vOffset"}


def test_the_page_of_a_panorama_needs_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "viewer.html"
    pages.write_viewer(panorama_of(plain((10, 200, 30), 256)), path, "A <hall>")
    page = path.read_text()
    assert page.count("A &lt;hall&gt;") == 2
    assert not re.search(r"<(?:link|img|iframe|script)[^>]*(?:src|href)=", page)
    assert "<!-- " not in re.sub(r"<script>.*</script>", "", page, flags=re.S)
    assert re.findall(r"registerPanoramas\(\"own\",", page)
    assert path.stat().st_size < 120_000  # of which Pannellum has 66,000
