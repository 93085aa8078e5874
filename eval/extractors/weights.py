"""Files of pretrained weights: their places and the check of their hashes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml

from mvdiffusion.records import InputError, sha256_file

TABLE = Path(__file__).with_name("weights.yaml")


class MissingWeights(InputError):
    """Pretrained weights that are not here and could not be downloaded."""


@dataclass(frozen=True)
class Weights:
    """A file of weights.

    Attributes:
        file: its name.
        sha256: 64 hex digits of its hash, or the first of them; empty if nobody has published it,
            and then a user has to vouch for the file (see `vouched`).
        source: where the hash is from.
        url: where the file is from; or else
        repository: of huggingface.co.
        bytes: its size, if known.
    """

    file: str
    sha256: str
    source: str
    url: str = ""
    repository: str = ""
    bytes: int | None = None

    @property
    def place(self) -> str:
        """How to put the file in place without a network."""
        if self.url:
            return f"download {self.url} to {checkpoints() / self.file}"
        from huggingface_hub.constants import HF_HUB_CACHE

        return (
            f"put config.json and {self.file} of https://huggingface.co/{self.repository} into the "
            f"Hugging Face cache {HF_HUB_CACHE} (`hf download {self.repository}`)"
        )

    @property
    def is_here(self) -> bool:
        """Whether the file is where `fetch` finds it; its hash is not looked at."""
        if self.url:
            return (checkpoints() / self.file).is_file()
        import huggingface_hub

        return isinstance(huggingface_hub.try_to_load_from_cache(self.repository, self.file), str)

    def fetch(self) -> Path:
        """Find or download the file, and check its hash before it is used.

        Raises:
            OSError, RuntimeError: it could not be downloaded.
            MissingWeights: nobody vouches for it.
            InputError: its hash is another.
        """
        if not self.sha256:
            return self.vouched()
        if not self.url:
            import huggingface_hub

            path = Path(huggingface_hub.hf_hub_download(self.repository, self.file))
        elif not (path := checkpoints() / self.file).is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(self.url, str(path), self.sha256, progress=False)
        self.check(path)
        return path

    def vouched(self) -> Path:
        """Find a file of unknown hash for which its user vouches, by its hash in a file beside it.

        Raises:
            MissingWeights: it is not here, or there is no hash beside it.
            InputError: its hash is another than that.
        """
        path = checkpoints() / self.file
        beside = path.with_name(f"{path.name}.sha256")
        if not path.is_file() or not beside.is_file():
            raise MissingWeights(
                f"{path}: no SHA-256 of this file is known, so it is not downloaded; download it "
                f"from {self.url}, and vouch for it by writing its hash beside it: "
                f"`sha256sum {path.name} > {beside.name}`."
            )
        stated = beside.read_text(encoding="utf-8").split()
        if stated[:1] != [sha256_file(path)]:
            raise InputError(
                f"{path}: found the SHA-256 {sha256_file(path)}; expected {' '.join(stated[:1])} "
                f"({beside.name}); download the file again, or write its hash again."
            )
        return path

    def check(self, path: Path) -> None:
        """Check that a file is this one.

        Raises:
            InputError: its hash is another.
        """
        found = sha256_file(path)
        if found.startswith(self.sha256):
            return
        size = f" of {self.bytes:,} bytes" if self.bytes else ""
        digits = "" if len(self.sha256) == 64 else ", its first digits"
        raise InputError(
            f"{path}: found {path.stat().st_size:,} bytes with the SHA-256 {found}; expected a "
            f"file{size} with {self.sha256}{digits} (eval/extractors/{TABLE.name}); delete it and "
            f"run the command again to download it, or {self.place}."
        )


def checkpoints() -> Path:
    """Folder where PyTorch, and libraries that use it, keep downloaded files."""
    return Path(torch.hub.get_dir()) / "checkpoints"


@cache
def known_weights() -> dict[str, Weights]:
    """Read the table: files by the name of an extractor, or `lpips-<network>`."""
    content = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    files = {name: e.get("url", "open_clip_model.safetensors") for name, e in content.items()}
    return {n: Weights(**{"file": Path(files[n]).name, **e}) for n, e in content.items()}


def fetch_known(name: str) -> None:
    """Fetch and check the file of an extractor, where a library then finds it, if it is known.

    Raises:
        OSError, RuntimeError, InputError: see `Weights.fetch`.
    """
    if known := known_weights().get(name):
        known.fetch()


@contextmanager
def told_where(name: str, what: str, instead: str) -> Iterator[None]:
    """While weights are loaded, say how to get them, or what to do `instead`, if they are missing.

    Raises:
        MissingWeights: they could not be loaded.
    """
    try:
        yield
    except (OSError, RuntimeError, ModuleNotFoundError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        known = known_weights().get(name)
        place = f" {known.place}," if known else ""
        raise MissingWeights(
            f"{what} could not be loaded ({reason}); connect to the internet once to download "
            f"them,{place} or {instead}."
        ) from error


def load_pretrained(name: str, make: Callable[[], Any], is_local: bool = False) -> Any:
    """Make the network of an extractor; if its weights are missing, say where to put which file.

    Args:
        name: of the extractor.
        make: makes the network, by a library that finds the weights in its own folder.
        is_local: whether the weights are a file of the user's, which is taken as it is.

    Raises:
        MissingWeights: the weights are not here.
        InputError: they are others than the extractor's.
    """
    instead = "choose an extractor that you have trained, or the protocol 'offline'"
    with told_where(name, f"extractor '{name}': its pretrained weights", instead):
        if not is_local:
            fetch_known(name)  # into the folder where its library expects it
        return make()
