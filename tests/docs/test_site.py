"""The documentation site: built without a warning, complete, and made of this repository alone."""

import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from chromium import looked_at_by_axe, serious

import mvdiffusion.cli
import mvdiffusion_eval.cli
from mvdiffusion_eval.protocols.protocol import protocols

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = re.compile(r"<(?:script|link|img|iframe|source)[^>]*(?:src|href)=\"(?:https?:)?//")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    quiet = {"NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"}
    packages = os.pathsep.join(filter(None, sys.path))
    ran = subprocess.run(
        build,
        cwd=ROOT,
        env={**os.environ, **quiet, "PYTHONPATH": packages},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return folder


def text(page: Path) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text()))


def test_every_page_stands_in_the_navigation() -> None:
    """`mkdocs build --strict` says the same, and takes half a minute."""
    nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    listed = set(re.findall(r": ([\w/.-]+\.md)$", nav, re.MULTILINE))
    assert {path.name for path in ROOT.glob("docs/*.md")} <= listed
    parts = re.findall(r"^  - (.+?):", nav, re.MULTILINE)
    assert parts == ["Start", "Tutorial", "How to", "Reference", "Explanation"]


def test_nothing_that_is_generated_is_in_the_repository() -> None:
    kept = subprocess.run(
        ["git", "ls-files", "docs"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    assert not [name for name in kept if re.match(r"docs/(reference|source|figures)/", name)]


@pytest.mark.slow
def test_the_site_asks_nobody_for_anything(site: Path) -> None:
    pages = [*site.rglob("*.html")]
    assert len(pages) > 40
    assert [page.name for page in pages if FOREIGN.search(page.read_text())] == []


@pytest.mark.slow
def test_pictures_and_links_of_the_site_lead_to_files(site: Path) -> None:
    """Also those to files of the repository outside docs/."""
    for page in site.rglob("*.html"):
        if page.name == "404.html":  # whose links are from wherever it is shown
            continue
        for link in re.findall(r"(?:src|href)=\"([^\"#?:]+)[\"#?]", page.read_text()):
            assert (page.parent / link).exists(), (page.relative_to(site), link)
    assert (site / "source/results/reference/mini/figures/contact_sheet_panorama.jpg").exists()
    assert (site / "source/docs/leaderboard.html").exists()
    assert "class Method" in text(site / "source/mvdiffusion/methods/declaration.py.html")


@pytest.mark.slow
def test_figures_are_drawn(site: Path) -> None:
    marked = re.findall(r"<!-- figure: (\w+) ", (ROOT / "docs/method.md").read_text())
    page = (site / "method.html").read_text()
    assert len(marked) == 4
    for name in marked:
        assert f'src="figures/{name}.svg"' in page
        assert "<svg" in (site / f"figures/{name}.svg").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "app"),
    [("mvdiffusion", mvdiffusion.cli.app), ("mvdiffusion-eval", mvdiffusion_eval.cli.app)],
)
def test_every_option_of_every_command_is_described(site: Path, name: str, app) -> None:
    import typer.main

    page = text(site / f"reference/{name}.html")
    waiting = [(name, typer.main.get_command(app))]
    while waiting:
        words, command = waiting.pop()
        if hasattr(command, "commands"):
            waiting += [(f"{words} {sub}", each) for sub, each in command.commands.items()]
        else:
            section = page.partition(f"{words}¶")[2].partition("¶")[0]
            for parameter in command.params:
                if parameter.param_type_name == "option" and not parameter.hidden:
                    assert parameter.opts[0] in section, (words, parameter.opts)


@pytest.mark.slow
def test_every_key_and_every_protocol_is_described(site: Path) -> None:
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    page = text(site / "reference/configuration.html")
    sections = [schema, *(s for s in schema["$defs"].values() if "properties" in s)]
    for section in sections:
        assert set(section["properties"]) <= set(re.findall(r"\w+", page))
    page = text(site / "reference/protocols.html")
    assert [name for name in protocols() if f"{name}¶" not in page] == []


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_can_be_used_by_everybody(site: Path, browser: Any, scheme: str) -> None:
    """By axe-core: nothing serious; and on a phone, nothing wider than the screen."""
    page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme=scheme)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    guides = ("index", "tutorial", "method", "score")
    code = ("reference/python/pipelines", "reference/python/functional")
    for name in (*guides, "reference/mvdiffusion-eval", *code):
        page.goto((site / f"{name}.html").as_uri())
        assert serious(looked_at_by_axe(page)) == [], name
        root = "document.documentElement"
        assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth"), name
    page.close()
    assert [address for address in asked if address.startswith("http")] == []


@pytest.mark.slow
def test_python_is_described(site: Path) -> None:
    page = text(site / "reference/python/geometry.html")
    assert "Map query pixels to target pixels" in page
    index = json.loads((site / "search/search_index.json").read_text())
    found = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert {"method.html", "reference/python/pipelines.html"} <= found
    assert not [location for location in found if location.startswith("source/")]
