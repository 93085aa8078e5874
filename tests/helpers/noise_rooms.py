"""Rooms of smooth noise in Matterport3D's layout, for tests that need files but no scenes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

COLORS = ("red", "green", "blue", "white")


def write_rooms(root: Path, split: str, names: Sequence[str], seed: int) -> None:
    """Write the rooms and the list of the split; captions name a color and the room."""
    random, entries = np.random.default_rng(seed), []
    for index, name in enumerate(names):
        faces, captions = root / name / "matterport_skybox_images", root / name / "blip3"
        faces.mkdir(parents=True)
        captions.mkdir()
        for face in range(6):
            small = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            path = faces / f"{name}_skybox{face}_sami.jpg"
            Image.fromarray(small).resize((32, 32), Image.Resampling.BICUBIC).save(path)
        for degrees in range(0, 360, 45):
            text = f"a {COLORS[(index + degrees) % 4]} room, no. {index}\nsecond line\n"
            (captions / f"{name}_{degrees}.txt").write_text(text)
        entries.append(
            [f"{name}/matterport_skybox_images/{name}_skybox{face}_sami.jpg" for face in range(6)]
        )
    np.save(root / f"{split}.npy", np.array(entries))
