"""Archives that others made: what is whole comes out byte for byte, what is hostile stays in."""

import gzip
import io
import re
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from archives_of_rooms import FOLDER, HOUSES, house_files, write_tar, write_zip

from mvdiffusion.archives import check_archive, extract
from mvdiffusion.records import InputError

FILES = {"a/one.txt": b"one" * 1000, "a/b/two.bin": bytes(range(256)) * 40, "three": b""}
NAMES = ("files.zip", "files.tar", "files.tar.gz")


def write(path: Path, files: dict[str, bytes]) -> Path:
    return (write_zip if path.suffix == ".zip" else write_tar)(path, files)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("name", NAMES)
def test_everything_comes_out(tmp_path, name):
    archive = write(tmp_path / name, FILES)
    check_archive(archive)
    assert extract(archive, tmp_path / "out") == 3
    assert tree(tmp_path / "out") == FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "out"])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_wanted_comes_out_where_it_belongs(tmp_path, name):
    archive = write(tmp_path / name, FILES)

    assert extract(archive, tmp_path / "out", re.compile("a/(?:.*/)?([^/]+)")) == 2
    assert tree(tmp_path / "out") == {
        "one.txt": FILES["a/one.txt"],
        "two.bin": FILES["a/b/two.bin"],
    }
    with pytest.raises(InputError, match="none of the expected files"):
        extract(archive, tmp_path / "out", re.compile("(none)"))
    assert len(tree(tmp_path / "out")) == 2


def test_a_house_in_its_owners_layout(tmp_path):
    files = house_files(HOUSES[0])
    assert len(files) == 12
    extract(write_zip(tmp_path / "house.zip", files), tmp_path / "out")
    assert tree(tmp_path / "out") == files
    assert (tmp_path / "out" / HOUSES[0] / FOLDER).is_dir()


def zip_of(
    name: str, content: bytes = b"x", mode: int = 0, compression: int = zipfile.ZIP_DEFLATED
) -> bytes:
    buffer = io.BytesIO()
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    info.compress_type = compression
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("fine", b"fine")
        archive.writestr(info, content)
    return buffer.getvalue()


def patched(data: bytes, signature: bytes, offset: int, value: bytes) -> bytes:
    """Change a field of the last record with a signature."""
    place = data.rindex(signature) + offset
    return data[:place] + value + data[place + len(value) :]


def renamed(old: bytes, new: bytes) -> bytes:
    return zip_of(old.decode()).replace(old, new)


def bomb() -> bytes:
    """A member of 50 MB that says it has 10 bytes, in both of its headers."""
    data = zip_of("bomb", bytes(50_000_000))
    small = struct.pack("<I", 10)
    return patched(patched(data, b"PK\x03\x04", 22, small), b"PK\x01\x02", 24, small)


def tar_of(*members: tarfile.TarInfo, end: bool = True) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(bytes(member.size)) if member.isreg() else None)
    data = buffer.getvalue()
    return data if end else data[: sum(512 + (m.size + 511) // 512 * 512 for m in members)]


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def huge_header() -> bytes:
    """A tar whose long name claims 8 GiB."""
    info = member("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    info.size = 8 * 2**30 - 1
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


def negative_size() -> bytes:
    header = bytearray(member("x", size=1).tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = b"\xff" * 8 + struct.pack(">i", -1024)
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header) + bytes(1536)


WHOLE = zip_of("a/file", bytes(range(256)) * 8)
BZIP2, LZMA = (
    zip_of("a/file", bytes(range(256)) * 8, compression=compression)
    for compression in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
)
TAR = tar_of(member("first", size=700), member("second", size=700))
HOSTILE = {
    "absolute path": (zip_of("/tmp/evil"), "absolute path"),
    "absolute path in a tar": (tar_of(member("/tmp/evil")), "absolute path"),
    "drive": (zip_of("C:/evil"), "absolute path"),
    "parent": (zip_of("a/../../evil"), r"leads out of the folder"),
    "parent in a tar": (tar_of(member("../evil")), "leads out of the folder"),
    "parent by backslashes": (renamed(b"a+..+..+evil", b"a\\..\\..\\evil"), "leads out"),
    "backslash": (renamed(b"a+evil", b"a\\evil"), "not valid on every system"),
    "end of text in the name": (renamed(b"a+evil", b"a\0evil"), "not valid on every system"),
    "no name": (zip_of("."), "file without a name"),
    "empty name": (tar_of(member("")), "file without a name"),
    "symbolic link": (zip_of("link", b"/etc/passwd", 0o120777), "link or a device"),
    "fifo": (zip_of("fifo", b"", 0o010644), "link or a device"),
    "symbolic link in a tar": (tar_of(member("l", tarfile.SYMTYPE, "/etc")), "link or a device"),
    "hard link": (tar_of(member("l", tarfile.LNKTYPE, "../../x")), "link or a device"),
    "device": (tar_of(member("null", tarfile.CHRTYPE)), "link or a device"),
    "fifo in a tar": (tar_of(member("pipe", tarfile.FIFOTYPE)), "link or a device"),
    "twice": (tar_of(member("a"), member("./a")), "would be extracted to the place of 'a'"),
    "twice but for cases": (zip_of("FINE"), "would be extracted to the place of 'fine'"),
    "file and folder": (zip_of("fine/more"), "is both a file and a folder"),
    "bomb": (bomb(), "not a whole|more bytes than"),
    "too large": (zip_of("large", bytes(2_000_000)), "more than 1,000,000 bytes"),
    "too large a tar": (tar_of(member("large", size=2_000_000)), "more than 1,000,000 bytes"),
    "too large a tar.gz": (gzip.compress(tar_of(member("l", size=9**7))), "more than 1,000,000"),
    "checksum": (patched(WHOLE, b"PK\x01\x02", 16, b"\1\2\3\4"), "not a whole"),
    "broken data": (patched(WHOLE, b"a/file", 9, b"\xff\xff\xff\xff"), "not a whole"),
    "broken bzip2": (patched(BZIP2, b"PK\x03\x04", 36, b"\xff"), "not a whole"),
    "broken lzma": (patched(LZMA, b"PK\x03\x04", 40, b"\xff"), "not a whole"),
    "place before the start": (patched(WHOLE, b"PK\x05\x06", 17, b"\xff"), "not a whole"),
    "encrypted": (patched(WHOLE, b"PK\x01\x02", 8, b"\1"), "is encrypted"),
    "unknown compression": (patched(WHOLE, b"PK\x01\x02", 10, b"\x63"), "not a whole"),
    "truncated": (WHOLE[:-30], "not a whole"),
    "truncated early": (WHOLE[:60], "not a whole"),
    "truncated tar": (TAR[:1100], "not a whole|is truncated"),
    "truncated tar between members": (TAR[: 512 + 1024], "is truncated"),
    "tar without an end": (tar_of(member("x", size=9), end=False), "is truncated"),
    "garbage inside a tar": (TAR[:1536] + b"garbage!" * 64 + TAR[2048:], "is truncated"),
    "truncated tar.gz": (gzip.compress(TAR)[:-9], "not a whole"),
    "checksum of a tar.gz": (gzip.compress(TAR)[:-8] + bytes(8), "not a whole"),
    "more after a tar": (TAR + bytes(5 * 2**20), "more bytes after its end"),
    "huge header": (huge_header(), "not a whole"),
    "huge header in a tar.gz": (gzip.compress(huge_header() + bytes(2**25)), "not a whole"),
    "negative size": (negative_size(), "not a whole|is truncated"),
    "no archive": (b"<html>404 Not Found</html>" * 100, "not a whole"),
    "empty": (b"", "not a whole"),
    "without files": (b"PK\5\6" + bytes(18), "none of the expected files"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_the_hostile_is_refused_and_nothing_is_written(tmp_path, case):
    content, message = HOSTILE[case]
    inside = tmp_path / "inside"
    inside.mkdir()
    archive = inside / "archive"
    archive.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        extract(archive, inside / "deep" / "out", max_bytes=1_000_000)
    assert str(error.value).startswith(f"{archive}: ")
    assert "\n" not in str(error.value)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == [archive]
    if "too large" not in case and case != "without files":
        with pytest.raises(InputError):
            check_archive(archive)


def test_a_missing_archive(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        extract(tmp_path / "none.zip", tmp_path / "out")


def test_a_full_disk_is_noticed_before(tmp_path, monkeypatch):
    archive = write_zip(tmp_path / "a.zip", {"large": bytes(5000)})
    usage = type("Usage", (), {"free": 4999})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"needs 5,000 bytes at .* where 4,999 are free"):
        extract(archive, tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()


def test_an_earlier_folder_survives_a_broken_archive(tmp_path):
    extract(write_zip(tmp_path / "a.zip", {"old": b"old"}), tmp_path / "out")
    (tmp_path / "b.zip").write_bytes(patched(WHOLE, b"PK\x01\x02", 16, b"\1\2\3\4"))
    with pytest.raises(InputError):
        extract(tmp_path / "b.zip", tmp_path / "out")
    assert tree(tmp_path / "out") == {"old": b"old"}


@pytest.mark.parametrize("content", [WHOLE, BZIP2, LZMA, TAR, gzip.compress(TAR, mtime=0)])
def test_random_damage_never_escapes(tmp_path, content):
    """Whatever is changed or cut off, either it comes out or one sentence does."""
    random = np.random.default_rng(0)
    archive, refused = tmp_path / "archive", 0
    for _ in range(150):
        data = bytearray(content[: random.integers(1, len(content) + 1)])
        for place in random.integers(0, len(data), random.integers(0, 4)):
            data[place] = random.integers(0, 256)
        archive.write_bytes(data)
        try:
            extract(archive, tmp_path / "out", max_bytes=1_000_000)
        except InputError:
            refused += 1
    assert refused > 100
    assert {path.name for path in tmp_path.iterdir()} <= {"archive", "out"}
