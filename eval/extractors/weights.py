"""Files of pretrained weights: their places and the check of their hashes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import yaml

from mvdiffusion.records import InputError, sha256_file

TABLE = Path(__file__).with_name("weights.yaml")


@dataclass(frozen=True)
class Weights:
    """A file of weights.

    Attributes:
        file: its name.
        sha256: 64 hex digits of its hash, or the first of them.
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

    def fetch(self) -> Path:
        """Find or download the file, and check its hash before it is used.

        Raises:
            OSError, RuntimeError: it could not be downloaded.
            InputError: its hash is another.
        """
        path = self._of_url() if self.url else self._of_repository()
        self.check(path)
        return path

    def _of_url(self) -> Path:
        path = checkpoints() / self.file
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(self.url, str(path), self.sha256, progress=False)
        return path

    def _of_repository(self) -> Path:
        import huggingface_hub

        return Path(huggingface_hub.hf_hub_download(self.repository, self.file))

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


def weights_of(name: str) -> Weights | None:
    """Look up the file of an extractor, or of `lpips-<network>`; None if the table lacks it."""
    return _table().get(name)


def fetch_known(name: str) -> None:
    """Fetch and check the file of an extractor, where a library then finds it, if it is known.

    Raises:
        OSError, RuntimeError, InputError: see `Weights.fetch`.
    """
    if known := weights_of(name):
        known.fetch()


@cache
def _table() -> dict[str, Weights]:
    content = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return {name: Weights(**entry) for name, entry in content.items()}
