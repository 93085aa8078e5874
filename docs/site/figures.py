"""Draw the figures of docs/method.md from the cameras that the method uses.

mkdocs-gen-files runs this file when the site is built. A page says where a figure stands by a line
`<!-- figure: NAME | what it shows -->`, which the code host does not show.
"""

from __future__ import annotations

import io
import re

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import mkdocs_gen_files
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle, Wedge

from mvdiffusion.geometry.cameras import even_yaws, panorama_cameras
from mvdiffusion.geometry.homography import homography, inside, pixel_grid, project
from mvdiffusion.models.correspondence_geometry import neighborhood

SIZE, CELLS = 512, 8
MARKER = re.compile(r"^<!-- figure: (\w+) \| (.*?) -->$", re.MULTILINE)
BLUE, RED, GRAY = "#0b6e99", "#b0413e", "#888888"


def cameras() -> Figure:
    """Eight fields of view of 90° from above, and what neighbors share."""
    figure, axes = plt.subplots(figsize=(4.6, 4.6))
    for view, yaw in enumerate(even_yaws(8)):
        middle = 90 - yaw  # yaw turns right from straight ahead; Matplotlib's angles turn left
        color = BLUE if view == 0 else RED if view == 1 else GRAY
        strong = view < 2
        axes.add_patch(
            Wedge(
                (0, 0),
                1.0 if strong else 0.94,
                middle - 45,
                middle + 45,
                facecolor=color,
                alpha=0.3 if strong else 0.07,
                edgecolor=color,
            )
        )
        at = np.radians(middle)
        axes.text(
            1.12 * np.cos(at), 1.12 * np.sin(at), f"{view}\n{yaw:.0f}°", ha="center", va="center"
        )
    axes.set(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), aspect="equal")
    axes.axis("off")
    return figure


def overlap() -> Figure:
    """Points of view 0 and where the homography takes them in view 1."""
    K, R = panorama_cameras(SIZE, SIZE)
    to_one = homography(K[0], R[0], K[1], R[1])
    grid = pixel_grid(SIZE, SIZE, 32, 16)
    xy, ahead = project(to_one, grid)
    shared = ahead & inside(xy, SIZE, SIZE)
    figure, both = plt.subplots(1, 2, figsize=(7.4, 3.7))
    for axes, points, title in (
        (both[0], grid[:2].T, "view 0"),
        (both[1], xy, "the same points in view 1"),
    ):
        axes.add_patch(Rectangle((0, 0), SIZE, SIZE, fill=False, edgecolor=GRAY))
        kept = points[shared].numpy()
        axes.scatter(*kept.T, c=grid[1][shared].numpy(), cmap="viridis", s=9)
        if axes is both[0]:
            axes.scatter(*points[~shared].numpy().T, color="#cccccc", s=9)
        axes.set(xlim=(-20, SIZE + 20), ylim=(SIZE + 20, -20), aspect="equal", title=title)
        axes.set_xticks([0, SIZE])
        axes.set_yticks([0, SIZE])
    return figure


def attention() -> Figure:
    """A cell of view 0, where it lies in view 1, and the 3 x 3 cells that it attends to there."""
    K, R = panorama_cameras(SIZE, SIZE)
    scale = SIZE / CELLS
    row, column = 2, 6
    pixel = torch.tensor([[(column + 0.5) * scale], [(row + 0.5) * scale], [1.0]])
    xy, _ = project(homography(K[0], R[0], K[1], R[1]), pixel)
    x, y = (xy[0] / scale).tolist()
    figure, both = plt.subplots(1, 2, figsize=(7.4, 3.7))
    for axes, title in zip(both, ("view 0: the query", "view 1: what it attends to"), strict=True):
        axes.set(xlim=(0, CELLS), ylim=(CELLS, 0), aspect="equal", title=title)
        axes.set_xticks(range(CELLS + 1), labels=[])
        axes.set_yticks(range(CELLS + 1), labels=[])
        axes.grid(color="#dddddd")
    both[0].add_patch(Rectangle((column, row), 1, 1, facecolor=BLUE, alpha=0.6))
    both[1].add_patch(
        Polygon([(x - 1.5, y - 1.5), (x + 1.5, y - 1.5), (x + 1.5, y + 1.5), (x - 1.5, y + 1.5)],
                facecolor=RED, alpha=0.15)
    )  # fmt: skip
    around = np.array(neighborhood(3)) + np.array([x, y])
    both[1].scatter(*around.T, color=RED, s=22, zorder=3)
    both[1].scatter([x], [y], color=BLUE, s=40, zorder=4)
    return figure


def seen() -> Figure:
    """By how many other views each pixel column of a view is seen, for numbers of views."""
    figure, axes = plt.subplots(figsize=(7.0, 2.8))
    for views, color in ((4, GRAY), (6, RED), (8, BLUE), (12, "#1f7a4d")):
        K, R = panorama_cameras(SIZE, SIZE, views)
        step = 4
        rows = pixel_grid(SIZE, SIZE, step).unflatten(1, (SIZE // step, SIZE // step))
        middle_row = rows[:, SIZE // step // 2]
        count = torch.zeros(middle_row.shape[1])
        for other in range(1, views):
            xy, ahead = project(homography(K[0], R[0], K[other], R[other]), middle_row)
            count += (ahead & (xy[:, 0] > 0) & (xy[:, 0] < SIZE)).float()
        axes.step(middle_row[0], count, where="mid", label=f"{views} views", color=color)
    axes.set(xlabel="column of a view of 90° and 512 pixels", ylabel="other views", xlim=(0, SIZE))
    axes.legend(frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.25))
    return figure


def drawn(marker: re.Match[str]) -> str:
    """Write a figure of the page, and return the line that shows it."""
    figure = {f.__name__: f for f in (cameras, overlap, attention, seen)}[marker[1]]()
    picture = io.StringIO()
    figure.savefig(picture, format="svg", bbox_inches="tight", facecolor="white")
    plt.close(figure)
    with mkdocs_gen_files.open(f"figures/{marker[1]}.svg", "w") as file:
        file.write(picture.getvalue())
    return f"![{marker[2]}](figures/{marker[1]}.svg)"


with mkdocs_gen_files.open("method.md", "r") as file:
    page = MARKER.sub(drawn, file.read())
with mkdocs_gen_files.open("method.md", "w") as file:
    file.write(page)
