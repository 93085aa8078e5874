"""What every command leaves on disk: atomic writes, hashes and provenance.

The foundation of the house: `mvdiffusion` and `eval` both import it, it imports neither.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import IO, Any

RECORDED_PACKAGES = (
    "accelerate",
    "clean-fid",
    "diffusers",
    "dvc",
    "numpy",
    "open-clip-torch",
    "opencv-python-headless",
    "pandas",
    "pillow",
    "scipy",
    "snakemake",
    "timm",
    "torch",
    "torch-fidelity",
    "torchmetrics",
    "torchvision",
    "transformers",
)


_SEAL = b"sha256:"
_ASKING = threading.Lock()


class InputError(ValueError):
    """Input that the user can fix; its message names the file or key and the fix."""


def listed(names: Iterable[str], most: int = 3) -> str:
    """Name the first of many things in a message.

    Args:
        names: all of them.
        most: how many are named; of the others it says how many there are.
    """
    every = list(names)
    more = f" and {len(every) - most:,} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


@contextmanager
def reporting_input_errors(command: str) -> Iterator[None]:
    """Run a command: a mistake of the user's ends it with one line on standard error, and code 2.

    Args:
        command: its name, with which the line begins.

    Raises:
        SystemExit: with code 2, in place of an `InputError`, or of an `OSError` about a file.
    """
    try:
        yield
    except InputError as error:
        message = str(error)
    except OSError as error:
        if error.filename is None:
            raise
        message = f"{error.filename}: {error.strerror}; check this path and its permissions."
    else:
        return
    sys.stderr.write(f"{command}: {message}\n")  # in one piece, beside other jobs'
    raise SystemExit(2)


@contextmanager
def atomic_output(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that becomes `path` only if the block succeeds.

    The block may create a file or a directory there. An existing `path` is replaced, a directory
    only by a directory. After any failure nothing remains of the temporary path, and an earlier
    `path` is untouched; after a power cut, too, `path` is either whole or what it was.

    Raises:
        InputError: the operating system refused to write (disk full, no permission), or a file
            would replace a directory.
    """
    path = Path(path)
    # The pid lets `remove_leftovers` tell a killed writer's remains from a living one's.
    temporary = path.parent / f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp"
    try:
        _make_folders(path.parent)
        remove_leftovers(path)
        yield temporary
        _settle(temporary)  # the new name must not reach the disk before the bytes
        if path.is_dir() and not path.is_symlink():
            if not temporary.is_dir():
                raise InputError(f"{path}: is a folder; expected the name of a file.")
            retired = temporary.with_suffix(".old")
            path.rename(retired)
            temporary.rename(path)
            shutil.rmtree(retired, ignore_errors=True)
        else:
            temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        if error.filename is None or str(temporary) in str(error.filename) or error.errno == 28:
            reason = error.strerror or str(error)
            raise InputError(
                f"{path}: could not be written ({reason}); nothing was kept of it. "
                "Free space or permissions there, then run the same command again."
            ) from error
        raise
    finally:
        remove(temporary)


class _Hashing:
    """A file that is hashed while it is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest, self.flush = file, hashlib.sha256(), file.flush

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self.file.write(data)


@contextmanager
def sealed_output(path: str | Path) -> Iterator[Any]:
    """Yield a file to write that becomes `path` as in `atomic_output`, with a hash at its end.

    For formats whose readers do not notice damage and ignore what follows, such as torch's.
    """
    with atomic_output(path) as temporary, open(temporary, "wb") as file:
        yield (hashing := _Hashing(file))
        file.write(_SEAL + hashing.digest.digest())


def is_sealed(path: str | Path) -> bool:
    """Tell whether a file is what `sealed_output` wrote, to the last bit.

    Raises:
        OSError: it cannot be read.
    """
    digest, length = hashlib.sha256(), len(_SEAL) + hashlib.sha256().digest_size
    with open(path, "rb") as file:
        left = os.fstat(file.fileno()).st_size - length
        while left > 0 and (part := file.read(min(left, 1 << 20))):
            digest.update(part)
            left -= len(part)
        return left == 0 and file.read() == _SEAL + digest.digest()


def _make_folders(folder: Path) -> None:
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        _sync(made.parent)


def _settle(path: Path) -> None:
    """Have a file, or a directory and all in it, on the disk, readable for whom the umask allows.

    Some writers, such as safetensors', leave files that only their owner can read. A file with
    other names (a hard link) is somebody else's and keeps its mode.
    """
    mode = 0o666 & ~_umask()

    def settle(inside: Path) -> None:
        if not inside.is_symlink():
            status = inside.stat()
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and mode & ~status.st_mode:
                inside.chmod(stat.S_IMODE(status.st_mode) | mode)
            _sync(inside)

    if path.is_dir():
        # Several at once, as the file system then commits them together: ten times faster.
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(settle, path.rglob("*")))
    settle(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    with _ASKING:  # the mask is the process's, and can only be read by setting it
        os.umask(mask := os.umask(0o077))
    return mask


def remove(path: Path) -> None:
    """Delete a file or a directory tree if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        path.unlink()


def remove_leftovers(path: Path) -> None:
    """Delete what a killed `atomic_output(path)` left behind; bring back what it was replacing."""
    for leftover in sorted(path.parent.glob(f".{glob.escape(path.name)}.*")):
        owner = leftover.name[len(path.name) + 2 :].split("-")[0]
        if leftover.suffix not in {".tmp", ".old"} or not owner.isdigit() or _alive(int(owner)):
            continue
        if leftover.suffix == ".old" and not os.path.lexists(path):
            leftover.rename(path)
        else:
            remove(leftover)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as sorted, indented JSON; the file appears whole or not at all."""
    with atomic_output(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json_lines(path: Path) -> list[Any]:
    """Read a file with one JSON value a line; none if it is not there."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is missing or is not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))  # some editors write the mark
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected a JSON file there.") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); write it again or fix it.") from None


def canonical_json(value: Any) -> str:
    """One spelling per value: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def settings_sha256(settings: Mapping[str, Any]) -> str:
    """Hash a settings mapping (64 hex digits), independent of key order and spacing."""
    return hashlib.sha256(canonical_json(settings).encode()).hexdigest()


def sha256_file(path: str | Path) -> str:
    """Hash a file's bytes (64 hex digits)."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


VISIBLE = "**/[!.]*"  # pattern of all files in a folder but hidden ones


def folder_sha256(root: str | Path, pattern: str = "**/*") -> str:
    """Hash relative names and bytes of the files under `root` that match `pattern`."""
    root, digest = Path(root), hashlib.sha256()
    for path in sorted(path for path in root.glob(pattern) if path.is_file()):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(bytes.fromhex(sha256_file(path)))
    return digest.hexdigest()


def model_sha256(folder: str | Path) -> str:
    """Hash a saved model: all that may be loaded, so no hidden file, such as `.output.json`."""
    return folder_sha256(folder, VISIBLE)


def record_hashes(folder: Path, record: str, patterns: Iterable[str] = ("**/*",)) -> None:
    """Write the hashes of files of a finished folder, but hidden ones, into a file in it.

    Args:
        record: name of that file.
        patterns: of the files (default: all).
    """
    found = {path for pattern in patterns for path in folder.glob(pattern)}
    paths = (path for path in sorted(found) if path.is_file())
    names = (path.relative_to(folder).as_posix() for path in paths)
    kept = [name for name in names if name != record and not name.startswith(".")]
    hashes = {name: sha256_file(folder / name) for name in kept}
    write_json(folder / record, {"format": 1, "files": hashes})


def check_hashes(folder: Path, record: str, again: str) -> None:
    """Check that the files of a folder are those that were written, if it has their hashes.

    Args:
        record: name of the file that `record_hashes` wrote.
        again: how to have the folder made again, in words.

    Raises:
        InputError: a file is missing or has changed.
    """
    file = folder / record
    if not file.is_file():
        return
    ways = (
        f"{again}, or delete {file} if the change is your own and you want to use the files as "
        "they are."
    )
    content = read_json(file)
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(files, dict) or not files:
        raise InputError(f"{file}: names no files and their hashes; {ways}")
    for name, expected in files.items():
        path = folder / name
        found = sha256_file(path) if path.is_file() else None
        if found != expected:
            what = "has changed since it was written" if found else "is missing"
            raise InputError(f"{path}: {what} (SHA-256 in {record}); {ways}")


def provenance() -> dict[str, Any]:
    """Say what made a result: commit, packages, machine; no time, so that equal runs are equal."""
    # An installed copy may lie inside a repository of somebody else's.
    tracked = _git("ls-files", "--error-unmatch", str(Path(__file__).resolve())) is not None
    changed = _git("status", "--porcelain", "--untracked-files=no") if tracked else None
    return {
        "git_commit": _git("rev-parse", "HEAD") if tracked else None,
        "git_dirty": bool(changed),
        "python": platform.python_version(),
        "packages": package_versions(RECORDED_PACKAGES),
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cpu_capability": _cpu_capability(),
        "cores": os.cpu_count(),
        "accelerator": _accelerator(),
        "attention_kernel": _attention_kernel(),
    }


def package_versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Look up the installed versions of packages by name; None where one is not installed."""
    return {name: _version(name) for name in packages}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    root = Path(__file__).resolve().parent.parent
    command = ["git", "-C", str(root), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _cpu_model() -> str:
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor()


def _cpu_capability() -> str | None:
    """Instructions that PyTorch uses, on which rounding and the precision "auto" depend."""
    torch = sys.modules.get("torch")
    return None if torch is None else str(torch.backends.cpu.get_cpu_capability())


def _attention_kernel() -> str | None:
    """What computes attention between views, whose rounding it decides; None without a model."""
    choice = sys.modules.get("mvdiffusion.models.kernels.choice")
    return None if choice is None else str(choice.chosen())


def _accelerator() -> str | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return str(torch.cuda.get_device_name())
