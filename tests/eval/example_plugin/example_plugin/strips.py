"""A method whose samples are strips: `<sample>.strip.png` holds its eight views side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvdiffusion_eval import Method, PanoramaFolder, check_view, image_header, read_rgb

NUM_VIEWS, ENDING = 8, ".strip.png"


@dataclass(frozen=True)
class StripFolder(PanoramaFolder):
    """Samples that are strips of views. Files are checked, read and hashed through `view_paths`."""

    def view_paths(self, sample_id: str) -> list[Path]:
        """Name the strip, which holds all views."""
        return [self.root / f"{sample_id}{ENDING}"]

    def check_images(self, sample_id: str) -> None:
        """Check the header of a strip."""
        check_view(self.view_paths(sample_id)[0], self.height, NUM_VIEWS * self.width)

    def views(self, sample_id: str, which: Sequence[int] | None = None) -> np.ndarray:
        """Cut the views of a sample, or some of them: uint8 RGB [V, H, W, 3]."""
        strip = read_rgb(self.view_paths(sample_id)[0])
        views = np.stack(np.split(strip, NUM_VIEWS, axis=1))
        return views if which is None else views[list(which)]

    def view_digests(self, sample_id: str) -> list[str]:
        """Hash what each view is read from: here its pixels (64 hex digits each)."""
        from hashlib import sha256

        return [sha256(view.tobytes()).hexdigest() for view in self.views(sample_id)]


def open_strips(root: Path) -> StripFolder | None:
    """Open a folder of strips; anything else is not this method's."""
    ids = tuple(sorted(path.name.removesuffix(ENDING) for path in root.glob(f"*{ENDING}")))
    if not ids:
        return None
    width, height = image_header(root / f"{ids[0]}{ENDING}")[0]
    yaw_deg = tuple(45.0 * view for view in range(NUM_VIEWS))
    size = height, width // NUM_VIEWS
    return StripFolder(root, "panorama", "strips", ids, *size, None, 90.0, yaw_deg)


METHOD = Method("strips", "Panoramas in strips", color="#2a7f62", opens=open_strips)
