"""Zip and tar archives of others: checked before anything is written, and extracted whole."""

from __future__ import annotations

import errno
import gzip
import lzma
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

from mvdiffusion.records import InputError, atomic_output

MAX_BYTES = 64 * 2**30  # of one archive's files; the largest of the real ones has a tenth of it
MAX_MEMBERS = 2**20
_CHUNK = 2**20
_MAX_PADDING = 4 * 2**20  # zeros that may follow the end of a tar
_MAX_READ = 16 * 2**20  # of a tar at once
_AGAIN = "delete it and fetch it again"

_ALL = re.compile(r"(.*)", re.DOTALL)


@dataclass(frozen=True)
class _Member:
    """One entry of an archive; `flaw` says why it may not be extracted, `open` gives its bytes."""

    name: str  # as the archive has it
    size: int  # declared, in bytes
    is_file: bool
    flaw: str
    open: Callable[[], IO[bytes]]


def extract(
    archive: Path, output: Path, wanted: re.Pattern[str] = _ALL, max_bytes: int = MAX_BYTES
) -> int:
    """Extract a .zip, .tar or .tar.gz; `output` appears whole or not at all.

    Args:
        archive: the file; its first bytes tell what it is.
        output: the folder, which is replaced.
        wanted: matches the names of the files that are wanted; its first group is the relative
            path in `output`.

    Returns:
        How many files were written.

    Raises:
        InputError: the archive is missing, not whole, encrypted or hostile (absolute paths, "..",
            links, devices, two files in one place, more bytes than declared), too large, holds
            nothing wanted, or writing failed.
    """
    with _readable(archive):
        count, size = _check(archive, wanted, max_bytes)
    if not count:
        raise InputError(f"{archive}: contains none of the expected files; {_AGAIN}.")
    _check_space(archive, output, size)
    with atomic_output(output) as temporary, _readable(archive):
        temporary.mkdir()
        for member in _members(archive):
            if target := _target(member, wanted):
                (temporary / target).parent.mkdir(parents=True, exist_ok=True)
                with open(temporary / target, "xb") as file:
                    file.writelines(_parts(archive, member))
    return count


def check_archive(archive: Path) -> None:
    """Read an archive from end to end.

    Raises:
        InputError: as `extract`, except for what concerns writing.
    """
    with _readable(archive):
        count, _ = _check(archive, _ALL, MAX_BYTES)
        for member in _members(archive):
            if member.is_file:
                deque(_parts(archive, member), maxlen=0)
    if not count:
        raise InputError(f"{archive}: is an archive without files; {_AGAIN}.")


def _target(member: _Member, wanted: re.Pattern[str]) -> str | None:
    """Say where a file goes; None for one that is not wanted, and for a folder."""
    match = wanted.fullmatch(PurePosixPath(member.name).as_posix()) if member.is_file else None
    return match[1] if match else None


def _check(archive: Path, wanted: re.Pattern[str], max_bytes: int) -> tuple[int, int]:
    """Look at every entry; count the files wanted and their bytes."""
    files: dict[str, str] = {}  # by how a file system without cases would call them
    size = 0
    for number, member in enumerate(_members(archive)):
        if number == MAX_MEMBERS:
            raise InputError(f"{archive}: has more than {MAX_MEMBERS:,} members; {_AGAIN}.")
        where = f"{archive}: its member {member.name!r}"
        flaw = member.flaw or name_flaw(member.name)
        if member.is_file and not PurePosixPath(member.name).parts:
            flaw = flaw or "is a file without a name"
        if flaw:
            raise InputError(f"{where} {flaw}, so nothing was extracted; {_AGAIN}.")
        if (target := _target(member, wanted)) is None:
            continue
        if (other := files.get(target.casefold())) is not None:
            raise InputError(f"{where} would be extracted to the place of {other!r}; {_AGAIN}.")
        files[target.casefold()] = member.name
        size += member.size
        if size > max_bytes:
            raise InputError(
                f"{archive}: would grow to more than {max_bytes:,} bytes (at {member.name!r}); "
                f"expected less of such an archive. If its owner states another size, {_AGAIN}."
            )
    # No file may stand where another needs a folder.
    folders = {parent.as_posix() for name in files for parent in PurePosixPath(name).parents}
    if clash := sorted(folders & files.keys()):
        raise InputError(
            f"{archive}: its member {files[clash[0]]!r} is both a file and a folder; {_AGAIN}."
        )
    return len(files), size


def _check_space(archive: Path, output: Path, size: int) -> None:
    folder = next(path for path in (output / "_").absolute().parents if path.exists())
    free = shutil.disk_usage(folder).free
    if size > free:
        raise InputError(
            f"{archive}: needs {size:,} bytes at {folder}, where {free:,} are free; free more "
            "space, or choose another place."
        )


def name_flaw(name: str) -> str:
    """Say why a name may not be written under a folder; empty if it may."""
    if name.startswith("/") or PureWindowsPath(name).drive:
        return "has an absolute path"
    if ".." in PurePosixPath(name.replace("\\", "/")).parts:
        return "leads out of the folder with '..'"
    if "\\" in name or not name.isprintable():
        return "has a name that is not valid on every system"
    return ""


def _parts(archive: Path, member: _Member) -> Iterator[bytes]:
    """Bytes of a file, never more than its archive declares."""
    left = member.size
    with member.open() as source:
        while part := source.read(_CHUNK):
            left -= len(part)
            if left < 0:
                break
            yield part
    if left:
        raise InputError(
            f"{archive}: its member {member.name!r} has {'more' if left < 0 else 'fewer'} bytes "
            f"than the {member.size:,} that it declares; {_AGAIN}."
        )


def _members(archive: Path) -> Iterator[_Member]:
    with open(archive, "rb") as file:
        start = file.read(4)
    if start[:2] == b"PK":
        yield from _zip_members(archive)
    else:
        yield from _tar_members(archive, gzipped=start[:2] == b"\x1f\x8b")


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            flaw = ""
            if info.flag_bits & 0x1:
                flaw = "is encrypted"
            elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                flaw = "is a link or a device"
            # The central directory's own name: a NUL would end `filename`.
            name = info.orig_filename
            open_member = partial(opened.open, info)
            yield _Member(name, info.file_size, not name.endswith("/"), flaw, open_member)


class _Bounded:
    """A tar's bytes, of which no header can ask for more at once than memory can bear."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MAX_READ:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._file.read(size)


def _tar_members(archive: Path, gzipped: bool) -> Iterator[_Member]:
    place = -1
    with (gzip.open if gzipped else open)(archive, "rb") as file:
        opened = tarfile.TarFile(fileobj=(bounded := _Bounded(file)))  # type: ignore[arg-type]
        while (info := opened.next()) is not None:
            if info.size < 0 or opened.offset <= place:  # else it could go round for ever
                raise tarfile.ReadError(f"a member of {info.size} bytes")
            place = opened.offset
            flaw = "" if info.isreg() or info.isdir() else "is a link or a device"
            open_member: Any = partial(opened.extractfile, info)  # of a plain file, never None
            yield _Member(info.name, info.size, info.isreg(), flaw, open_member)
            opened.members = []  # type: ignore[attr-defined]  # else millions of them stay
        _check_tar_end(archive, bounded, opened.offset)


def _check_tar_end(archive: Path, file: _Bounded, place: int) -> None:
    """Check that the members end with a block of zeros: `tarfile` is content with any garbage."""
    file.seek(place)
    block = file.read(tarfile.BLOCKSIZE)
    rest = file.read(_MAX_PADDING + 1)  # to its end, where gzip compares checksums
    if len(block) != tarfile.BLOCKSIZE or block.strip(b"\0") or rest.strip(b"\0"):
        raise InputError(f"{archive}: is truncated after {place:,} bytes; {_AGAIN}.")
    if len(rest) > _MAX_PADDING:
        raise InputError(f"{archive}: contains more bytes after its end; {_AGAIN}.")


@contextmanager
def _readable(archive: Path) -> Iterator[None]:
    """Turn whatever a broken archive makes its readers raise into one sentence."""
    if not archive.is_file():
        raise InputError(f"{archive}: no such file; expected a .zip, .tar or .tar.gz there.")
    try:
        yield
    except InputError:
        raise
    except (
        EOFError,
        NotImplementedError,  # a compression that zipfile lacks
        RuntimeError,
        ValueError,
        OSError,
        lzma.LZMAError,
        struct.error,
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        # Decoders' errors have no number, and EINVAL is a place before the file's start.
        if isinstance(error, OSError) and (
            error.filename or error.errno not in (None, errno.EINVAL)
        ):
            raise  # the system's, not the archive's
        raise InputError(
            f"{archive}: not a whole .zip, .tar or .tar.gz archive ({error}); {_AGAIN}."
        ) from None
