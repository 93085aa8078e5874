"""Checkpoints in the forms that people have them in, and what is often in their place."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mvdiffusion.conversion.pickle_reader import read_state_dict
from mvdiffusion.records import InputError

# What a file begins with that is no checkpoint, what it is then, and what to do.
NO_CHECKPOINTS = {
    b"version https://git-lfs": "a Git LFS pointer instead of the file; run `git lfs pull`",
    b"<": "a web page instead of the file; download the file itself (Dropbox: a link with dl=1)",
    b"{": "a JSON file; expected a checkpoint such as pano.ckpt",
}


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint; nothing in it is run.

    Args:
        path: a Lightning checkpoint, its state dict saved by itself, or a .safetensors file.

    Returns:
        Tensors on the CPU by name, in the types that the file has.

    Raises:
        InputError: not such a file, or a damaged one.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a checkpoint such as pano.ckpt.")
    with open(path, "rb") as file:
        start = file.read(64)
    if start[8:9] == b"{":  # after eight bytes with the length of a JSON text
        return _read_safetensors(path)
    if not start:
        raise InputError(f"{path}: is empty; download it again.")
    for beginning, what in NO_CHECKPOINTS.items():
        if start.lstrip().startswith(beginning):
            raise InputError(f"{path}: is {what}.")
    return read_state_dict(path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(
            f"{path}: not a whole safetensors file ({error}); download it again."
        ) from None
