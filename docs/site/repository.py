"""Bring the rest of the repository into the site: what pages link to outside docs/.

mkdocs-gen-files runs this file after the others. Links of a page that leave docs/ work on the code
host; here each file that one leads to becomes a page below source/, or is copied if it is a
picture or a page already. Two Markdown files outside docs/ are pages of the site themselves.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

import mkdocs_gen_files

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("benchmarks/README.md", "config/README.md")
RUNS = ROOT / "results/reference"
RUNS_HERE = "<!-- results pages -->"
COPIED = {".jpg", ".png", ".svg", ".html", ".js", ".css", ".mp4", ".csv", ".json"}
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)#\s]+)(#[^)\s]*)?(\))")
FENCED = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
HIDDEN = "---\nsearch: {exclude: true}\nhide: [navigation]\n---\n"


def on_site(path: str) -> str:
    """Where a file of the repository, or a folder, is in the site; bring it there.

    Args:
        path: from the repository's top folder.

    Returns:
        the file's place below the site's top folder.
    """
    source = ROOT / path
    if path.startswith("docs/") and path.endswith(".md"):
        return path.removeprefix("docs/")
    if path in PAGES:
        return path
    if path == "README.md":
        return "README.md"  # the site's own first page takes its place
    if source.is_dir():
        index = f"source/{path}/index.md"
        names = sorted(p.name + "/" * p.is_dir() for p in source.iterdir() if p.name[0] not in "._")
        write(index, f"# `{path}/`\n\n" + "\n".join(f"- `{name}`" for name in names) + "\n")
        return index
    if source.suffix in COPIED:
        with mkdocs_gen_files.open(f"source/{path}", "wb") as copy:
            copy.write(source.read_bytes())
        return f"source/{path}"
    page = f"source/{path}.md"
    text = source.read_text()
    fence = "`" * (max(map(len, re.findall(r"`{3,}", text)), default=2) + 1)
    language = {".py": "python", ".yaml": "yaml", ".toml": "toml"}.get(source.suffix, "text")
    write(page, f"# `{path}`\n\n{fence}{language}\n{text}\n{fence}\n")
    return page


def write(page: str, text: str) -> None:
    """Write a page that stands in no list and that no search finds."""
    with mkdocs_gen_files.open(page, "w") as file:
        file.write(HIDDEN + text)


def relink(text: str, page: str) -> str:
    """Have the links of a page lead to files of the site.

    Args:
        text: Markdown.
        page: its path from the repository's top folder.
    """
    folder = posixpath.dirname(page)
    here = posixpath.dirname(on_site(page))

    def replaced(link: re.Match[str]) -> str:
        before, target, anchor, after = link[1], link[2], link[3] or "", link[4]
        if re.match(r"[a-z]+:", target):
            return link[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        if not (ROOT / path).exists():  # drawn for the site, or wrong, which MkDocs will say
            return link[0]
        place = posixpath.relpath(on_site(path), here or ".")
        return f"{before}{place}{anchor}{after}"

    return outside_code(text, lambda part: LINK.sub(replaced, part))


def outside_code(text: str, change) -> str:  # noqa: ANN001 (a function of one text)
    """Apply a function to all of a page but its code blocks."""
    parts, end = [], 0
    for block in FENCED.finditer(text):
        parts += [change(text[end : block.start()]), indented(block)]
        end = block.end()
    return "".join([*parts, change(text[end:])])


def indented(block: re.Match[str]) -> str:
    """A code block in a list, which Python-Markdown wants four spaces further in, not two."""
    if len(block[1]) not in (2, 3):
        return block[0]
    return "\n".join(" " * (4 - len(block[1])) + line for line in block[0].split("\n"))


def lists_apart(text: str) -> str:
    """Put an empty line before lists, as Python-Markdown wants it and GitHub does not."""
    return re.sub(r"^(?![-|\s]|\d+\. )(.+\n)(?=- |1\. )", r"\1\n", text, flags=re.MULTILINE)


def results_pages() -> str:
    """Copy the recorded runs that have a results page, with all that it shows; a list of them."""
    lines = []
    for page in sorted(RUNS.glob("*/report.html")):
        run = page.parent
        for file in sorted(path for path in run.rglob("*") if path.is_file()):
            with mkdocs_gen_files.open(f"source/{file.relative_to(ROOT).as_posix()}", "wb") as copy:
                copy.write(file.read_bytes())
        where = page.relative_to(ROOT).as_posix()
        lines.append(f"- [results page of the recorded run `{run.name}`](source/{where})")
    return "\n".join(lines)


for name in PAGES:
    with mkdocs_gen_files.open(name, "w") as copy:
        copy.write(relink(lists_apart((ROOT / name).read_text()), name))
for page in sorted((ROOT / "docs").glob("*.md")):
    with mkdocs_gen_files.open(page.name, "r") as file:
        found = file.read()
    with mkdocs_gen_files.open(page.name, "w") as file:
        made = relink(lists_apart(found), f"docs/{page.name}")
        file.write(made.replace(RUNS_HERE, results_pages()) if RUNS_HERE in made else made)
