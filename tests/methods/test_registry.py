"""Which methods there are: their order, and sentences about those that cannot be."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from foreign_methods import forget, installed

from mvdiffusion.methods import registry
from mvdiffusion.methods.registry import find_method, method_names
from mvdiffusion.records import InputError

IMPORT = "from mvdiffusion.methods import Method, Training"
LEVEL = "from mvdiffusion.settings import settings\n@settings\nclass Level:\n    level: float\n"
MINE = f'{IMPORT}\nMETHOD = Method("mine", "Mine", ("panorama",)'
OWN = f"{MINE}, model='mine'"


def test_tables_have_the_papers_order_and_those_of_other_packages_last(tmp_path: Path) -> None:
    before = method_names("panorama")
    with installed(tmp_path, "other", f"{MINE})\n", {"mine": "METHOD"}):
        assert method_names("panorama") == (*before, "mine")
        assert method_names()[-1] == "mine"
        assert "mine" not in method_names("depth")
    assert before.index("vae_reconstruction") < before.index("independent_base")
    assert before.index("independent_base") < before.index("independent")
    assert before.index("independent") < before.index("mvdiffusion")  # as in the paper's table 1


def test_every_method_has_its_functions_and_a_color_of_its_own() -> None:
    own = {n: m for n, m in registry.methods().items() if not m.is_external}
    for name, method in own.items():
        assert all(callable(method.function(task)) for task in method.tasks), name
    compared = [method for method in registry.methods().values() if method.role == "method"]
    colors = [method.color for method in compared if method.color]
    assert len(set(colors)) == len(colors)


@pytest.mark.parametrize(
    ("text", "entries", "sentence"),
    [
        (f"{MINE})", {"yours": "METHOD"}, r"'yours' of the package 'other' .* of this name"),
        ("import missing", {"mine": "METHOD"}, r"'mine' .* could not be loaded: ModuleNotFound"),
        (f"{MINE}, model='magic')", {"mine": "METHOD"}, r"needs the model 'magic'; expected b"),
        (f"{MINE}, others=('mine',))", {"mine": "METHOD"}, r"or the name of a method with a train"),
        (f"{OWN}, training=Training('stage1', start='x'))", {"mine": "METHOD"}, r"model 'x'"),
        (f"{MINE}, training=Training('stage1'))", {"mine": "METHOD"}, r"expected model='mine'"),
        (f"{MINE}, options=dict)", {"mine": "METHOD"}, r"'dict'>; expected a class under `mvdiff"),
        (f"{LEVEL}{MINE}, options=Level)", {"mine": "METHOD"}, r"'options.level' is missing; .*d"),
        (f"{MINE.replace('mine', 'independent')})", {"independent": "METHOD"}, r"another of this"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_method_is_named(
    text: str, entries: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    with (
        installed(tmp_path, "other", text, entries),
        pytest.raises(InputError, match=sentence),
    ):
        find_method("independent", "panorama")


def test_an_installation_older_than_its_source_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `git pull`, say, without installing again."""
    monkeypatch.setattr(registry, "entry_points", lambda group: [])
    forget()
    with pytest.raises(InputError, match=r"independent\.py: .* older .* `pip install -e \.` again"):
        find_method("independent", "panorama")
    with pytest.raises(InputError, match=r"ablations\.py: .* older .* `pip install -e \.` again"):
        find_method("ablation_paper", "panorama")
    with pytest.raises(InputError, match=r"--method base: expected a method of the task pano"):
        find_method("base", "panorama")
    gone = EntryPoint("gone", f"{registry.GROUP}.gone:METHOD", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [gone])
    forget()
    with pytest.raises(
        InputError, match=r"'gone' .* ModuleNotFound.*; run `pip install -e \.` again"
    ):
        find_method("independent", "panorama")
    monkeypatch.undo()
    forget()


def test_methods_of_others_are_known_and_run_elsewhere() -> None:
    method = find_method("external/panfusion", "panorama")
    assert (method.title, method.models, method.is_external) == ("PanFusion", (), True)
    assert "external/panfusion" not in method_names()  # which `generate split` offers
    with pytest.raises(InputError, match=r"run it by `mvdiffusion external run panfusion`"):
        method.function("panorama")
    with pytest.raises(InputError, match=r"--method external/panfusion: expected a method of th"):
        find_method("external/panfusion", "depth")
