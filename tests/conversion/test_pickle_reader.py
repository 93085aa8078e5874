"""Reading released checkpoints: tensors come out, and nothing that the file names is run."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict, deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from mvdiffusion.conversion.pickle_reader import read_state_dict
from mvdiffusion.records import InputError


class Settings:
    """A class that the reader must not need, as a Lightning file's hyper-parameters."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)
        self.items = [deque([1, 2], 3), {3}, frozenset({4}), slice(1, 2), 1 + 2j]


class Runs:
    """Pickles to a call of `function`, which runs when an ordinary unpickler meets it."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple:
        return self.call


def tensors() -> OrderedDict[str, torch.Tensor]:
    shared = torch.arange(12.0)
    made = OrderedDict(
        float=torch.randn(2, 3),
        half=torch.randn(4).half(),
        bfloat=torch.randn(4).bfloat16(),
        long=torch.tensor([1, -2]),
        bool=torch.tensor([True, False]),
        scalar=torch.tensor(2.5),
        empty=torch.empty(0, 3),
        parameter=torch.nn.Parameter(torch.randn(3)),
        slice=shared[3:9],
        turned=shared.reshape(3, 4).T,
    )
    made._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]
    return made


def checkpoint(**more: Any) -> dict[str, Any]:
    return {
        "epoch": 9,
        "pytorch-lightning_version": "1.9.0",
        "state_dict": tensors(),
        "callbacks": {"ModelCheckpoint": {"path": Path("x"), "best": torch.tensor(1.0)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.randn(3)}}}],
        "hyper_parameters": Settings(lr=2e-4, nested={"deep": Settings()}),
        **more,
    }


def check(path: Path) -> None:
    torch.manual_seed(0)
    expected = tensors()
    found = read_state_dict(path)
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value), key


@pytest.mark.parametrize("zip_format", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_tensors_of_a_lightning_file(tmp_path: Path, zip_format: bool, protocol: int) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"_use_new_zipfile_serialization": zip_format}
    torch.save(checkpoint(), tmp_path / "a.ckpt", pickle_protocol=protocol, **options)
    with pytest.raises(pickle.UnpicklingError):  # PyTorch's own safe reader refuses such files
        torch.load(tmp_path / "a.ckpt", weights_only=True)
    check(tmp_path / "a.ckpt")


def attacks(mark: Path) -> dict[str, Any]:
    """Objects that make a file when an ordinary unpickler loads them."""
    command, code = f"touch {mark}", f"open({str(mark)!r}, 'w')"
    return {
        "os.system": Runs(os.system, command),
        "eval": Runs(eval, code),
        "exec": Runs(exec, code),
        "open": Runs(open, str(mark), "w"),
        "call of a call": Runs(getattr, Runs(getattr, Path(mark), "touch"), "__call__"),
        "method": Runs(Path(mark).touch),
        "state": Runs(Settings, state=Runs(os.system, command)),
        "rebuilt": Runs(
            torch._utils._rebuild_tensor_v2, Runs(os.system, command), 0, (1,), (1,), False, {}
        ),
        "parameter": Runs(torch._utils._rebuild_parameter, Runs(os.system, command), True, {}),
        "loader": Runs(torch.load, Runs(os.system, command)),
        "dictionary": Runs(OrderedDict, [[Runs(os.system, command), 1]]),
    }


@pytest.mark.parametrize("zip_format", [True, False])
@pytest.mark.parametrize("name", list(attacks(Path("x"))))
def test_nothing_is_run(tmp_path: Path, name: str, zip_format: bool) -> None:
    path, mark = tmp_path / "a.ckpt", tmp_path / "mark"
    attack = attacks(mark)[name]
    torch.manual_seed(0)
    content = checkpoint(
        hyper_parameters={"nested": [Settings(inner=attack)]}, callbacks={"x": attack}
    )
    torch.save(content, path, _use_new_zipfile_serialization=zip_format)
    mark.unlink(missing_ok=True)
    check(path)
    assert not mark.exists()
    if name not in ("rebuilt", "call of a call"):  # these fail before they do harm
        with suppress(Exception):
            torch.load(path, weights_only=False)
        assert mark.exists(), "the attack is harmless: it tests nothing"


def handwritten(path: Path, pickled: bytes) -> Path:
    """A zip checkpoint whose pickle is written by hand."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/data/0", b"\0" * 16)
    return path


def put(value: bytes) -> bytes:
    """A pickle of {"state_dict": {"w": <tensor of storage 0>}, "x": <value>}."""
    storage = (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\0\0\0" + b"0X\3\0\0\0cpuK\x04tQ"
    )
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0(K\x04t(K\x01t\x89}tR"
    return (
        b"\x80\x02}(X\x0a\0\0\0state_dict}X\x01\0\0\0w" + tensor + b"sX\x01\0\0\0x" + value + b"u."
    )


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"(S'touch {mark}'\nios\nsystem\n", id="INST"),
        pytest.param(b"(cos\nsystem\nS'touch {mark}'\no", id="OBJ"),
        pytest.param(b"cos\nsystem\n(S'touch {mark}'\ntR", id="REDUCE"),
        pytest.param(b"cposix\nsystem\n(S'touch {mark}'\nt\x81", id="NEWOBJ"),
        pytest.param(b'c__builtin__\neval\n(S\'open("{mark}", "w")\'\ntR', id="python2"),
        pytest.param(b"cos\nsystem\nS'touch {mark}'\nb", id="BUILD on a function"),
        pytest.param(b"cos\nsystem\nS'touch {mark}'\na", id="APPEND"),
        pytest.param(b"cos\nsystem\n(S'touch {mark}'\ne", id="APPENDS"),
        pytest.param(
            b"ccollections\nOrderedDict\n)R}S'__setstate__'\ncos\nsystem\nsbS'touch {mark}'\nb",
            id="BUILD that replaces __setstate__",
        ),
        pytest.param(
            b"ctorch._utils\n_rebuild_tensor_v2\n}S'__call__'\ncos\nsystem\nsb(S'touch {mark}'\ntR",
            id="BUILD on the tensors' own function",
        ),
        pytest.param(
            b"ctorch._utils\n_rebuild_tensor_v2\nN}S'__class__'\ncos\nsystem\ns\x86b(tR",
            id="BUILD with slots",
        ),
        pytest.param(
            b"\x80\x04\x8c\x02os\x8c\x06system\x93S'touch {mark}'\n\x85R", id="STACK_GLOBAL"
        ),
    ],
)
def test_opcodes_run_nothing(tmp_path: Path, value: bytes) -> None:
    mark = tmp_path / "mark"
    pickled = put(value.replace(b"{mark}", str(mark).encode()))
    path = handwritten(tmp_path / "a.ckpt", pickled)
    assert torch.equal(read_state_dict(path)["w"], torch.zeros(4))
    assert not mark.exists()
    # The stand-ins are as they were.
    check_path = tmp_path / "b.ckpt"
    torch.manual_seed(0)
    torch.save(checkpoint(), check_path)
    check(check_path)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"Pcos\nsystem\n", id="PERSID"),
        pytest.param(
            b"(X\x07\0\0\0storagecos\nsystem\nX\1\0\0\0" + b"0X\3\0\0\0cpuK\x04tQ", id="type"
        ),
        pytest.param(b"cos\nsystem\nQ", id="a function"),
        pytest.param(b"\x82\x01", id="EXT1"),
        pytest.param(b"\x97", id="NEXT_BUFFER"),
    ],
)
def test_odd_references_end_in_a_message_or_in_nothing(tmp_path: Path, value: bytes) -> None:
    path = handwritten(tmp_path / "a.ckpt", put(value))
    try:
        assert torch.equal(read_state_dict(path)["w"], torch.zeros(4))
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("count", "size", "stride"), [(400, 4, 1), (4, 5, 1), (4, 2, 4), (4, 1 << 40, 0)]
)
def test_tensors_stay_inside_their_storage(
    tmp_path: Path, count: int, size: int, stride: int
) -> None:
    class Writer(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", count) if value is mark else None

    mark, buffer = object.__new__(Settings), io.BytesIO()
    tensor = Runs(torch._utils._rebuild_tensor_v2, mark, 0, (size,), (stride,), False, None)
    Writer(buffer, 2).dump({"state_dict": {"w": tensor}})
    with pytest.raises(InputError, match="not a whole PyTorch checkpoint"):
        read_state_dict(handwritten(tmp_path / "a.ckpt", buffer.getvalue()))


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    with pytest.raises(InputError, match="no such file"):
        read_state_dict(path)
    with pytest.raises(InputError, match="directory"):
        read_state_dict(tmp_path)
    for content in (b"", b"hello", b"PK\x03\x04", pickle.dumps({"state_dict": {}})):
        path.write_bytes(content)
        with pytest.raises(InputError, match="not a whole PyTorch checkpoint"):
            read_state_dict(path)
    torch.save({"model": {}, "epoch": 3}, path)
    with pytest.raises(InputError, match=r"no `state_dict`.*model, epoch"):
        read_state_dict(path)
    torch.save([1], path)
    with pytest.raises(InputError, match="no dictionary"):
        read_state_dict(path)
    torch.save({"state_dict": {"w": 3}}, path)
    with pytest.raises(InputError, match="w is not a tensor"):
        read_state_dict(path)
    torch.save(checkpoint(), path)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(InputError, match="not a whole"):
        read_state_dict(path)
