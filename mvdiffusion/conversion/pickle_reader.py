"""Tensors out of a PyTorch checkpoint file whose pickled objects are never brought to life.

A Lightning checkpoint pickles more than tensors: hyper-parameters, callbacks, optimizers. Pickle
lets a file name any function and its arguments, so whoever loads it runs what its writer chose.
This is the only module that reads pickles, and its reader knows no function of anybody else:
every name in the file stands for a note of a tensor, for a dictionary, or for a `_Nothing`, which
accepts whatever the file does to it and does nothing. The notes become tensors afterwards.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from mvdiffusion.records import InputError, listed

MAX_PICKLE_BYTES = 2**26  # of data.pkl, which holds names and sizes, some hundred bytes per tensor
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of files before PyTorch 1.6
DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class _Nothing:
    """Stands for every class, function and object that is not a tensor."""

    __slots__ = ()

    def __new__(cls, *_: Any, **__: Any) -> _Nothing:
        return object.__new__(cls)

    def __call__(self, *_: Any, **__: Any) -> _Nothing:
        return self

    def ignore(*_: Any) -> None:
        """Take anything, as a method of the class or of an object."""

    __setstate__ = __setitem__ = append = extend = add = update = ignore


class _Dictionary(dict[Any, Any]):
    """Stands for `collections.OrderedDict`; attributes that the file gives it are dropped."""

    __setstate__ = _Nothing.ignore


@dataclass(frozen=True)
class _Type(_Nothing):
    """Stands for a storage class of PyTorch, such as `torch.FloatStorage`."""

    dtype: torch.dtype


@dataclass(frozen=True)
class _Storage(_Nothing):
    """Says where a tensor's numbers are: a key of the file, a type and a count."""

    key: str
    dtype: torch.dtype
    count: int

    @property
    def bytes(self) -> int:
        """Its size in the file."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class _Note(_Nothing):
    """Says what a tensor is; made by the stand-in of `torch._utils._rebuild_tensor_v2`."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _RebuildTensor(_Nothing):
    """Stands for `torch._utils._rebuild_tensor_v2` and its relatives."""

    def __call__(self, *arguments: Any, **_: Any) -> _Nothing:
        storage, offset, size, stride = (*arguments, *(None,) * 4)[:4]
        sound = isinstance(storage, _Storage) and all(
            isinstance(numbers, tuple) and all(type(n) is int and n >= 0 for n in numbers)
            for numbers in ((offset,), size, stride)
        )
        return _Note(storage, offset, size, stride) if sound else _Nothing()


class _RebuildParameter(_Nothing):
    """Stands for `torch._utils._rebuild_parameter`."""

    def __call__(self, *arguments: Any, **_: Any) -> Any:
        return arguments[0] if arguments else self


STAND_INS: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Dictionary,
    ("torch._utils", "_rebuild_tensor"): _RebuildTensor(),
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_tensor_v3"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
    ("torch._utils", "_rebuild_parameter_with_state"): _RebuildParameter(),
    **{("torch", name): _Type(dtype) for name, dtype in DTYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    """Builds containers, numbers and texts; of all else only stand-ins."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="utf-8", errors="replace")  # files of Python 2 too
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Give a stand-in for any name; nothing is imported."""
        return STAND_INS.get((module, name), _Nothing)

    def persistent_load(self, identity: Any) -> _Nothing:
        """Note a storage, which PyTorch refers to as ("storage", type, key, place, count, …)."""
        kind, storage, key, _, count = (*identity, *(None,) * 5)[:5]
        if kind == "storage" and isinstance(storage, _Type) and type(count) is int and count >= 0:
            return self.storages.setdefault(str(key), _Storage(str(key), storage.dtype, count))
        return _Nothing()


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read `state_dict` out of a Lightning checkpoint; run and import nothing that it names.

    A file of that dictionary alone is read, too.

    Args:
        path: a file of `torch.save`, in today's zip format or the one before PyTorch 1.6.

    Returns:
        Tensors on the CPU, in the types that the file has.

    Raises:
        InputError: no such file, not a checkpoint, a damaged one, or one without tensors.
    """
    with _complaints(path), open(path, "rb") as file:
        content, read = (_open_zip if zipfile.is_zipfile(file) else _open_legacy)(file)
        notes = _notes(content)
        if not notes:
            found = listed(map(str, content), 5) if isinstance(content, dict) else "no dictionary"
            raise InputError(
                f"{path}: no `state_dict` in it (found: {found}); expected a Lightning checkpoint "
                "such as pano.ckpt."
            )
        storages: dict[_Storage, Tensor] = {}
        return {str(key): _tensor(str(key), note, read, storages) for key, note in notes.items()}


def _notes(content: Any) -> dict[Any, Any] | None:
    """Find the notes of tensors: under `state_dict`, or the file holds nothing else."""
    if not isinstance(content, dict):
        return None
    if all(isinstance(note, _Note) for note in content.values()):
        return content
    inner = content.get("state_dict")
    return inner if isinstance(inner, dict) else None


@contextmanager
def _complaints(path: Path) -> Iterator[None]:
    """Turn whatever a broken or malicious file causes into one sentence."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected a checkpoint.") from None
    except InputError:
        raise
    except (IsADirectoryError, PermissionError) as error:
        raise InputError(f"{path}: {error.strerror}; expected a checkpoint file.") from None
    except Exception as error:  # a pickle can make its reader fail in any way
        raise InputError(
            f"{path}: not a whole PyTorch checkpoint ({type(error).__name__}: {error}); "
            "download it again."
        ) from None


Reader = Callable[[_Storage], Tensor]


def _open_zip(file: BinaryIO) -> tuple[Any, Reader]:
    """Open today's format: <name>/data.pkl beside one entry <name>/data/<key> per storage."""
    archive = zipfile.ZipFile(file)
    names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(names) != 1:
        raise ValueError(f"{len(names)} entries called data.pkl")
    root = names[0].removesuffix("data.pkl")

    def stored(name: str, most: int) -> bytes:
        """Read an entry that is as large as it claims and has a right to be."""
        entry = archive.getinfo(f"{root}{name}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise ValueError(f"{entry.filename} is compressed")
        if entry.file_size > most:
            raise ValueError(f"{entry.file_size:,} bytes in {entry.filename}, {most:,} expected")
        return archive.read(entry)

    if f"{root}byteorder" in archive.namelist() and stored("byteorder", 16) != b"little":
        raise ValueError("numbers of a big-endian machine")

    def read(storage: _Storage) -> Tensor:
        return _numbers(stored(f"data/{storage.key}", storage.bytes), storage)

    return _Unpickler(io.BytesIO(stored("data.pkl", MAX_PICKLE_BYTES))).load(), read


def _open_legacy(file: BinaryIO) -> tuple[Any, Reader]:
    """Open the format before PyTorch 1.6: five pickles, then the storages one after another."""
    file.seek(0)
    if _Unpickler(file).load() != LEGACY_MAGIC:
        raise ValueError("neither of PyTorch's two formats")
    _version, system = _Unpickler(file).load(), _Unpickler(file).load()
    if system.get("little_endian") is not True:
        raise ValueError("numbers of a big-endian machine")
    objects = _Unpickler(file)
    content, keys = objects.load(), _Unpickler(file).load()
    start, places = file.tell(), {}
    for key in keys:
        places[key] = start + 8  # each begins with its count
        start += 8 + objects.storages[key].bytes

    def read(storage: _Storage) -> Tensor:
        file.seek(places[storage.key])
        return _numbers(file.read(storage.bytes), storage)

    return content, read


def _numbers(data: bytes, storage: _Storage) -> Tensor:
    if len(data) != storage.bytes:
        raise ValueError(f"{len(data)} bytes in storage {storage.key}, {storage.bytes} expected")
    if not data:
        return torch.empty(0, dtype=storage.dtype)
    return torch.frombuffer(bytearray(data), dtype=storage.dtype)


def _tensor(name: str, note: Any, read: Reader, storages: dict[_Storage, Tensor]) -> Tensor:
    """Make the tensor of a note; those that share a storage in the file share it here."""
    if not isinstance(note, _Note):
        raise ValueError(f"{name} is not a tensor of a plain type")
    count, last = 1, 0  # what the tensor has, and the farthest number it reaches
    for size, stride in zip(note.size, note.stride, strict=True):
        count, last = count * size, last + (size - 1) * stride
    if count > note.storage.count or (count and note.offset + last >= note.storage.count):
        raise ValueError(f"{name} reaches beyond its storage")
    if note.storage not in storages:
        storages[note.storage] = read(note.storage)
    return torch.as_strided(storages[note.storage], note.size, note.stride, note.offset)
