"""Writing a settings file moves outdated results aside and loses nothing."""

import os
from pathlib import Path

import pytest

from workflow.lib.settings_file import write_settings_file

OLD, NEW = "a" * 12, "b" * 12


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Results of an old recipe of the step `vae`, beside those of others."""
    for name in ("models/vae/config.json", "training/vae/state", f"settings/vae-{OLD}.json",
                 "models/base/config.json", f"settings/base-{OLD}.json",
                 "rooms/.train.parts", "rooms/.test.parts"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def write(root: Path, digest: str = NEW) -> list[Path]:
    names = ("models/vae", "training/vae", "curves/vae.jsonl", "rooms/.train.*")
    file = root / f"settings/vae-{digest}.json"
    moved = write_settings_file(file, "{}", [str(root / name) for name in names])
    assert file.read_text() == "{}\n"
    return moved


def files(root: Path) -> dict[str, str]:
    found = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_text() for path in found}


def test_everything_of_the_step_moves_and_nothing_else(root: Path) -> None:
    before = files(root)
    own = {name for name in before if "vae" in name} | {"rooms/.train.parts"}
    assert write(root) == [root / f".old/vae-{OLD}"]
    expected = {(f".old/vae-{OLD}/{name}" if name in own else name): text
                for name, text in before.items()}  # fmt: skip
    assert files(root) == expected | {f"settings/vae-{NEW}.json": "{}\n"}


def test_what_was_moved_before_is_kept(root: Path) -> None:
    write(root)
    for digest, number in ((OLD, ""), (NEW, ""), (OLD, "-2")):
        (root / "models/vae").mkdir()
        (root / "models/vae/config.json").write_text(digest + number)
        write(root, NEW if digest == OLD else OLD)
    kept = {path.parent.parent.parent.name: path.read_text()
            for path in root.glob(".old/*/models/vae/config.json")}  # fmt: skip
    assert len(kept) == 4
    assert kept[f"vae-{OLD}"] == "models/vae/config.json"


def test_a_killed_write_leaves_no_settings_file(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(file: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            write(root)
    assert not list(root.glob(f"settings/vae-{NEW}.json"))
    assert write(root) == []  # the results were moved before
    assert [path.name for path in (root / "settings").glob("*vae*")] == [f"vae-{NEW}.json"]


def test_a_killed_move_goes_on_where_it_was(root: Path) -> None:
    aside = root / f".old/vae-{OLD}"
    (aside / "models").mkdir(parents=True)
    (root / "models/vae").rename(aside / "models/vae")
    assert write(root) == [aside]
    assert (aside / "models/vae/config.json").exists()
    assert (aside / "training/vae/state").exists()


def test_results_without_a_settings_file_are_kept_too(root: Path) -> None:
    (root / f"settings/vae-{OLD}.json").unlink()
    assert write(root) == [root / ".old/vae-unknown"]


def test_without_results_nothing_moves(tmp_path: Path) -> None:
    assert write(tmp_path) == []
    assert list(files(tmp_path)) == [f"settings/vae-{NEW}.json"]
