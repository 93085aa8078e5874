"""Downloading one large file: it goes on where it stopped, and is whole or refused.

<file>.part         what has arrived
<file>.part.json    its size and version at the source, so that two versions are never joined
"""

from __future__ import annotations

import http.client
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from tqdm import tqdm

from mvdiffusion.records import InputError, read_json, write_json

CHUNK = 1 << 20
TIMEOUT_S = 60.0
RETRIES = 3
FIRST_WAIT_S = 2.0
PAGE = re.compile(rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head)", re.IGNORECASE | re.DOTALL)
RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True)
class _Answer:
    """What a source gives: bytes from `start` on, of `total` in all (None if it does not say)."""

    stream: IO[bytes]
    start: int
    total: int | None
    version: str | None
    kind: str = ""


class _Interrupted(Exception):
    """The connection ended before the file did; what has arrived is kept."""


def download(url: str, part: Path) -> None:
    """Download a file; called again, it goes on where it stopped.

    Args:
        url: http, https or file.
        part: where it is written. A part that is there is gone on with, unless the source says
            that its file is another one by now; after any failure it keeps what has arrived.

    Raises:
        InputError: the source cannot be reached or has no such file, gives a web page in place of
            a file, ends before the file does, or the disk has too little space.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(RETRIES + 1):
        try:
            return _go_on(url, part)
        except _Interrupted as error:
            if attempt == RETRIES:
                raise InputError(
                    f"{url}: {error}; {part} keeps what has arrived: run the same command again."
                ) from None
            print(f"{url}: {error}; going on ({attempt + 1} of {RETRIES})", file=sys.stderr)
            time.sleep(FIRST_WAIT_S * 2**attempt)


def is_page(head: bytes) -> bool:
    """Tell whether the first bytes of a file are those of a web page."""
    return PAGE.match(head) is not None


def _go_on(url: str, part: Path) -> None:
    """Ask for what is missing and write it."""
    note = part.with_name(f"{part.name}.json")
    known = read_json(note) if note.is_file() else {}
    there = part.stat().st_size if part.is_file() else 0
    if there and there == known.get("total"):
        note.unlink()
        return
    with _ask(url, there, known.get("version")) as answer:
        if answer.kind.partition(";")[0].strip() == "text/html":
            raise _page(url)
        total = answer.total
        if answer.start and known.get("total") not in (None, total):
            raise InputError(
                f"{url}: is now a file of {total:,} bytes, and {part} the beginning of one of "
                f"{known['total']:,}; delete {part} to begin again."
            )
        _check_space(url, part, (total or 0) - there)
        write_json(note, {"total": total, "version": answer.version})
        _write(url, answer, part)
    if total is not None and part.stat().st_size != total:
        raise _Interrupted(f"ended after {part.stat().st_size:,} of {total:,} bytes")
    note.unlink()


def _write(url: str, answer: _Answer, part: Path) -> None:
    """Write what an answer gives behind what is there of it."""
    chunks = _chunks(answer.stream)
    first = next(chunks, b"")
    if not answer.start and is_page(first):
        raise _page(url)
    name = part.name.removesuffix(".part")
    bar = tqdm(desc=name, total=answer.total, unit="B", unit_scale=True, disable=None)
    try:
        with open(part, "r+b" if answer.start else "wb") as file, bar:
            file.seek(answer.start)
            bar.update(answer.start)
            for chunk in chain([first], chunks):
                file.write(chunk)
                bar.update(len(chunk))
    except OSError as error:
        raise InputError(f"{part}: cannot be written ({error.strerror}).") from None


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    try:
        while chunk := stream.read(CHUNK):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(f"the connection ended ({error})") from None


@contextmanager
def _ask(url: str, start: int, version: str | None) -> Iterator[_Answer]:
    """Ask a source for the bytes from `start` on; it may give all of them instead."""
    if urlsplit(url).scheme not in ("http", "https", "file"):
        raise InputError(f"{url}: is no address of a file; expected http, https or file.")
    headers = {"User-Agent": "mvdiffusion"}
    if start:
        headers["Range"] = f"bytes={start}-"
        headers |= {"If-Range": version} if version else {}
    try:
        answered = urlopen(Request(url, headers=headers), timeout=TIMEOUT_S)
    except HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            yield from _whole_or_again(url, start, error.headers.get("Content-Range", ""))
            return
        raise InputError(
            f"{url}: answers {error.code} {error.reason}; check the address, or fetch the file in "
            "another way."
        ) from None
    except URLError as error:
        if isinstance(error.reason, ConnectionError | TimeoutError):
            raise _Interrupted(f"cannot be reached ({error.reason})") from None
        raise InputError(f"{url}: cannot be reached ({error.reason}).") from None
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(f"cannot be reached ({error})") from None
    with answered:
        found = RANGE.fullmatch(answered.headers.get("Content-Range", ""))
        length = answered.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        if found and int(found[1]) == start:
            total = None if found[2] == "*" else int(found[2])
        elif found:
            raise InputError(f"{url}: gives other bytes than it was asked for; try again later.")
        tag = answered.headers.get("ETag") or answered.headers.get("Last-Modified")
        strong = None if tag and tag.startswith("W/") else tag
        kind = answered.headers.get("Content-Type", "") if urlsplit(url).scheme != "file" else ""
        yield _Answer(answered, start if found else 0, total, strong, kind.lower())


def _whole_or_again(url: str, start: int, says: str) -> Iterator[_Answer]:
    """Answer where nothing is left to ask for: all is there, or what is there is no part of it."""
    if says == f"bytes */{start}":
        yield _Answer(BytesIO(), start, start, None)
        return
    with _ask(url, 0, None) as whole:
        yield whole


def _page(url: str) -> InputError:
    return InputError(
        f"{url}: gives a web page in place of the file: its host asks for a visit in a browser, "
        "limits downloads, or no longer has it; fetch it with a browser, or from another place."
    )


def _check_space(url: str, part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise InputError(
            f"{part.parent}: has {free / 1e9:.1f} GB of free space, and {needed / 1e9:.1f} GB of "
            f"{url} are missing; free space there, or choose another folder."
        )
