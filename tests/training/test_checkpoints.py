"""Damaged, cut and foreign checkpoints: noticed, never loaded, and never a traceback."""

import os
import random

import pytest
import torch

from mvdiffusion import records
from mvdiffusion.records import InputError, is_sealed, sealed_output
from mvdiffusion.training.checkpoints import CheckpointFolder

IDENTITY = {"seed": 0, "steps": 2}


def state(step):
    generator = torch.Generator().manual_seed(step)
    return {"step": step, "weights": {"w": torch.randn(1000, generator=generator)}}


def saved(folder):
    files = CheckpointFolder(folder, IDENTITY)
    for step in (1, 2):
        files.save(step, state(step))
    return files, sorted(folder.glob("*.pt"))


def one_bit(content, dice):
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)


def bytes_of_chance(content, dice):
    start = dice.randrange(len(content))
    content[start : start + 16] = dice.randbytes(len(content[start : start + 16]))


def cut(content, dice):
    del content[dice.randrange(len(content)) :]


def page_of_zeros(content, dice):
    start = dice.randrange(len(content)) // 4096 * 4096
    content[start : start + 4096] = bytes(len(content[start : start + 4096]))


def trailing_bytes(content, dice):
    content += dice.randbytes(dice.randrange(1, 50))


KINDS = (one_bit, bytes_of_chance, cut, page_of_zeros, trailing_bytes)


@pytest.mark.parametrize("count", [60, pytest.param(400, marks=pytest.mark.slow)])
def test_no_damage_is_silent(tmp_path, monkeypatch, capsys, count):
    monkeypatch.setattr(records, "_sync", lambda path: None)  # 400 times is slow
    whole, dice = {}, random.Random(13)
    for number in range(count):
        files, (before, newest) = saved(tmp_path / str(number))
        whole = whole or {path.name: path.read_bytes() for path in (before, newest)}
        content = bytearray(whole[newest.name])
        while content == whole[newest.name]:
            KINDS[number % len(KINDS)](content, dice)
        newest.write_bytes(content)
        found = files.latest()
        assert found["step"] == 1
        assert torch.equal(found["weights"]["w"], state(1)["weights"]["w"])
        assert newest.with_name(f"{newest.name}.old").read_bytes() == content
        assert capsys.readouterr().err.count("\n") == 1


def emptied(path):
    path.write_bytes(b"")


def html(path):
    path.write_bytes(b"<html>quota exceeded</html>")


def pointer(path):
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")


def folder(path):
    path.unlink()
    path.mkdir()


def broken_link(path):
    path.unlink()
    path.symlink_to("nowhere")


def code(path):
    class Code:
        def __reduce__(self):
            return os.mkdir, (str(path.with_name("executed")),)

    with sealed_output(path) as file:
        torch.save(Code(), file)


@pytest.mark.parametrize("damage", [emptied, html, pointer, folder, broken_link, code])
def test_what_is_no_checkpoint_is_moved_aside_or_refused(tmp_path, capsys, damage):
    files, (before, newest) = saved(tmp_path / "c")
    damage(newest)
    assert files.latest()["step"] == 1
    assert f"{newest}: " in capsys.readouterr().err
    damage(before)
    names = sorted(os.listdir(tmp_path / "c"))
    for _ in range(2):  # nothing is moved: the next run says the same
        with pytest.raises(InputError, match=r"no other checkpoint there is whole; copy one from"):
            files.latest()
        assert sorted(os.listdir(tmp_path / "c")) == names
    assert "executed" not in names


def test_both_damaged_is_one_sentence_whatever_the_options(tmp_path):
    files, paths = saved(tmp_path / "c")
    for path in paths:
        path.write_bytes(path.read_bytes()[:-1])
    for overwrite in (False, True):
        opened = CheckpointFolder(tmp_path / "c", IDENTITY, overwrite=overwrite)
        with pytest.raises(InputError, match=r"2\.pt: is damaged \(its hash is wrong\), and no"):
            opened.latest()
    assert files.folder.rename(tmp_path / "away")
    assert CheckpointFolder(tmp_path / "c", IDENTITY).latest() is None


def test_a_seal_is_the_hash_of_what_is_before_it(tmp_path):
    with sealed_output(tmp_path / "f") as file:
        file.write(b"abc")
    # FIPS 180-2, appendix B.1
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (tmp_path / "f").read_bytes() == b"abcsha256:" + bytes.fromhex(digest)
    assert is_sealed(tmp_path / "f")


def test_checkpoints_go_after_the_model_is_on_the_disk(tmp_path, monkeypatch):
    """Sync of the model's files, its folder and the folder above come before any deletion."""
    calls, sync, unlink, replace = [], os.fsync, os.unlink, os.replace
    files, states = saved(tmp_path / "training/checkpoints")

    def fsync(file):
        calls.append(("fsync", os.readlink(f"/proc/self/fd/{file}")))
        sync(file)

    def renamed(source, target, **options):
        calls.append(("rename", str(target)))
        replace(source, target, **options)

    def unlinked(path, **options):
        calls.append(("unlink", str(path)))
        unlink(path, **options)

    for name, call in (("fsync", fsync), ("replace", renamed), ("rename", renamed),
                       ("unlink", unlinked)):  # fmt: skip
        monkeypatch.setattr(os, name, call)

    def write(folder):
        (folder / "unet").mkdir()
        (folder / "unet/weights").write_bytes(b"w" * 5000)

    files.finish(model := tmp_path / "new/models/stage2", write)
    becomes = calls.index(("rename", str(model)))
    synced = [path for call, path in calls[:becomes] if call == "fsync"]
    for name in (".output.json", "unet/weights", "unet", "."):
        assert any(path.endswith(os.path.normpath(f".tmp/{name}")) for path in synced), name
    after = calls.index(("fsync", str(model.parent)), becomes)
    above = calls.index(("fsync", str(tmp_path)))  # where `new` was made
    first = min(calls.index(("unlink", str(path))) for path in states)
    assert becomes < after < first
    assert above < first
