"""The code of a result: all that is imported, wherever it lies, and nothing that cannot matter."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mvdiffusion
from mvdiffusion import code_closure
from mvdiffusion.code_closure import code_sha256, import_closure
from mvdiffusion.records import InputError

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "mvdiffusion/__init__.py": "",
    "mvdiffusion/code_closure.py": Path(mvdiffusion.__path__[0], "code_closure.py").read_text(),
    "mvdiffusion/records.py": Path(mvdiffusion.__path__[0], "records.py").read_text(),
    "mvdiffusion/measure.py": "",
    "mvdiffusion_eval/__init__.py": "from . import base",
    "mvdiffusion_eval/base.py": "",
    "mvdiffusion_eval/unused.py": "",
    "mvdiffusion_eval/inner/__init__.py": "from ..parent import thing",
    "mvdiffusion_eval/parent.py": "import mvdiffusion_eval.plain as p",
    "mvdiffusion_eval/plain.py": "TEMPLATE = 'page.html'",
    "mvdiffusion_eval/templates/page.html": "page",
    "mvdiffusion_eval/templates/other.html": "other",
    "mvdiffusion_eval/inner/entry.py": "from . import sibling\ndef f():\n    from .late import x\n",
    "mvdiffusion_eval/inner/sibling.py": "import os, json\nfrom mvdiffusion.measure import f",
    "mvdiffusion_eval/inner/late.py": "from mvdiffusion_eval.inner import entry",
}
UNUSED = {"unused.py", "other.html", "code_closure.py", "records.py"}
PRINT = """
import json
from mvdiffusion.code_closure import code_sha256, import_closure
entry = "mvdiffusion_eval.inner.entry"
print(json.dumps([code_sha256(entry), *sorted(map(str, import_closure(entry)))]))
"""
FINDER = """
import importlib.util, sys
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "mvdiffusion_eval":
            return importlib.util.spec_from_file_location(
                name, "{folder}/__init__.py", submodule_search_locations=["{folder}"])
sys.meta_path.insert(0, Finder)
"""


def write(root: Path, eval_folder: str, **changed: str) -> None:
    for name, text in (FILES | changed).items():
        path = root / name.replace("mvdiffusion_eval", eval_folder, 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def closure(root: Path, program: str = PRINT) -> tuple[str, list[str]]:
    """The hash and the files of the entry, in a process that imports from `root`."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd="/", text=True, capture_output=True, check=False,
        env=os.environ | {"PYTHONPATH": str(root)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    digest, *files = json.loads(done.stdout)
    return digest, files


def test_closure_follows_every_kind_of_import(tmp_path: Path) -> None:
    write(tmp_path, "mvdiffusion_eval")
    expected = [str(tmp_path / name) for name in FILES if Path(name).name not in UNUSED]
    assert closure(tmp_path)[1] == sorted(expected)


def test_the_hash_is_the_same_wherever_and_however_the_project_is_installed(tmp_path: Path) -> None:
    write(tmp_path / "wheel", "mvdiffusion_eval")
    write(tmp_path / "checkout", "eval")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/mvdiffusion").symlink_to(tmp_path / "checkout/mvdiffusion")
    (tmp_path / "linked/mvdiffusion_eval").symlink_to(tmp_path / "checkout/eval")
    editable = FINDER.format(folder=tmp_path / "checkout/eval") + PRINT
    of_wheel = closure(tmp_path / "wheel")[0]
    assert closure(tmp_path / "checkout", editable)[0] == of_wheel
    assert closure(tmp_path / "linked")[0] == of_wheel


@pytest.mark.parametrize(
    ("name", "text", "same"),
    [
        ("plain.py", '"""Words."""\n\n# A comment.\nTEMPLATE = (\n    "page.html"\n)\n', True),
        ("unused.py", "X = 1", True),
        ("templates/other.html", "edited", True),
        ("plain.py", "TEMPLATE = 'page.html'; X = 0", False),
        ("parent.py", "import mvdiffusion_eval.plain as q", False),
        ("inner/late.py", "x = 1", False),
        ("base.py", "X = None", False),
        ("templates/page.html", "edited", False),
    ],
)
def test_the_hash_changes_with_what_can_change_a_result(
    tmp_path: Path, name: str, text: str, same: bool
) -> None:
    write(tmp_path / "a", "mvdiffusion_eval")
    write(tmp_path / "b", "mvdiffusion_eval", **{f"mvdiffusion_eval/{name}": text})
    assert (closure(tmp_path / "a")[0] == closure(tmp_path / "b")[0]) == same


def test_what_a_method_says_of_itself_changes_no_image(tmp_path: Path) -> None:
    """Its title and color do not, nor what else there is to be said; its code does."""
    digests = []
    for folder, method, code in (("a", "title", 1), ("b", "color", 1), ("c", "title", 2)):
        declared = (
            f"from mvdiffusion.methods.declaration import Method\nMETHOD = Method('{method}')"
        )
        files = {
            "mvdiffusion/methods/__init__.py": "",
            "mvdiffusion/methods/declaration.py": f"class Method:\n    {method}: str\n",
            "mvdiffusion_eval/inner/sibling.py": f"{declared}\nVALUE = {code}\n",
        }
        write(tmp_path / folder, "mvdiffusion_eval", **files)
        digests.append(closure(tmp_path / folder)[0])
    assert digests[0] == digests[1] != digests[2]


def test_literals_are_told_apart() -> None:
    from mvdiffusion.code_closure import _syntax

    texts = ["1", "True", "'1'", "None", "0", "[]", "...", "b'1'", "-1", "1.0"]
    assert len({repr(_syntax(ast.parse(f"x = {text}"))) for text in texts}) == len(texts)


def test_a_training_depends_on_what_it_runs_and_on_no_preparation() -> None:
    for stage in ("stage1", "stage2"):
        files = {path.as_posix() for path in import_closure(f"mvdiffusion.training.{stage}")}
        assert any(file.endswith("mvdiffusion/training/loop.py") for file in files)
        assert any(file.endswith("mvdiffusion/models/multiview_unet.py") for file in files)
        assert not [file for file in files if "/preparation/" in file or "/conversion/" in file]


def test_unknown_modules_are_named() -> None:
    with pytest.raises(InputError, match=r"'mvdiffusion\.missing' is not a module of"):
        code_sha256("mvdiffusion.missing")


COMMAND = """
SEED = 5
FORMAT = "x"


def command(a: Option("help") = 1) -> None:
    \"\"\"Do it.\"\"\"
    run(_seed(), a)


def _seed() -> int:
    return SEED


def other() -> str:
    return FORMAT
"""


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        ("run(_seed(), a)", "run(99, a)", True),
        ("= 1)", "= 2)", True),
        ("SEED = 5", "SEED = 6", True),
        ("return SEED", "return SEED + 1", True),
        ("Do it.", "Do that.", False),
        ('"help"', '"more help"', False),
        ("return FORMAT", "return FORMAT * 2", False),
        ('"x"', '"y"', False),
    ],
)
def test_a_command_is_what_it_computes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, before: str, after: str, counts: bool
) -> None:
    hashes = []
    for text in (COMMAND, COMMAND.replace(before, after)):
        (tmp_path / "cli.py").write_text(text)
        monkeypatch.setattr(code_closure, "_module_file", lambda module: tmp_path / "cli.py")
        code_closure._code_of_command.cache_clear()
        hashes.append(code_closure._code_of_command("cli:command"))
    code_closure._code_of_command.cache_clear()
    assert (hashes[0] != hashes[1]) == counts
    with pytest.raises(InputError, match="'commando' is no function of cli"):
        code_closure._code_of_command("cli:commando")
