"""Random rooms: what stands and hangs where, and what captions call it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from mvdiffusion.preparation.rooms.furniture import (
    COLORS,
    FURNITURE,
    TEXTILES,
    Dice,
    Part,
    Piece,
    curtain,
)
from mvdiffusion.preparation.rooms.paint import (
    Color,
    Paint,
    bordered,
    door,
    half_tiled,
    mixed,
    picture,
    plain,
    planks,
    screen,
    stripes,
    tiled,
    wainscot,
    window,
)

FLOOR, CEILING, FIRST_OBJECT = 4, 5, 6  # surfaces 0 … 3 are the walls, seen clockwise

WALL_COLORS: dict[str, Color] = {
    "white": (0.90, 0.89, 0.86),
    "grey": (0.68, 0.69, 0.71),
    "green": (0.62, 0.75, 0.58),
    "blue": (0.58, 0.71, 0.84),
    "yellow": (0.92, 0.84, 0.58),
    "pink": (0.90, 0.72, 0.73),
    "orange": (0.90, 0.70, 0.50),
    "purple": (0.71, 0.64, 0.80),
    "brown": (0.70, 0.58, 0.47),
    "red": (0.78, 0.46, 0.43),
}


Box = tuple[float, float, float, float]  # from, to along one axis; from, to along another


@dataclass(frozen=True)
class Panel:
    """A painted rectangle (s0, s1, v0, v1) in meters on a surface."""

    name: str
    surface: int
    box: Box
    paint: Paint
    glows: bool = False


@dataclass(frozen=True)
class Solid:
    """A part in the room's frame (x, height, z) with the object it belongs to."""

    part: Part
    front_axis: int  # the axis (0: x, 2: z) along which the part faces the room
    owner: int  # index into `Room.names`


@dataclass
class Room:
    """A furnished box room; x and z along its walls from one corner, y up, in meters."""

    kind: str
    size: tuple[float, float, float]  # x, height, z
    eye: tuple[float, float, float]
    heading: tuple[float, float]  # cosine and sine of the yaw of the front face
    wall_words: tuple[str, ...] = ()
    surfaces: list[Paint] = field(default_factory=list)  # four walls, floor, ceiling
    panels: list[tuple[Panel, int]] = field(default_factory=list)  # with index into names
    solids: list[Solid] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # of objects; "" is never mentioned
    footprints: list[Box] = field(default_factory=list)  # taken floor
    standing: list[Box] = field(default_factory=list)  # throw shadow
    leaning: list[tuple[int, Box]] = field(default_factory=list)
    hung: list[tuple[int, float, float, float, float]] = field(default_factory=list)
    windows: list[tuple[float, float, float]] = field(default_factory=list)

    def wall_length(self, wall: int) -> float:
        """Length of a wall in meters."""
        return self.size[0] if wall % 2 == 0 else self.size[2]

    def point(self, wall: int, u: float, w: float) -> tuple[float, float]:
        """(x, z) of the point u along a wall (left to right) and w away from it."""
        x, _, z = self.size
        return ((u, z - w), (x - w, z - u), (x - u, w), (w, u))[wall]

    def footprint(self, wall: int, u: tuple[float, float], w: tuple[float, float]) -> Box:
        """(x0, x1, z0, z1) of a rectangle given in a wall's frame."""
        (xa, za), (xb, zb) = self.point(wall, u[0], w[0]), self.point(wall, u[1], w[1])
        return min(xa, xb), max(xa, xb), min(za, zb), max(za, zb)


@dataclass(frozen=True)
class _Kind:
    walls: tuple[str, ...]
    finish: str
    floor: str
    needs: tuple[str, ...]
    extras: tuple[str, ...]
    size: Box  # smallest and largest x, smallest and largest z
    doors: int = 1
    windows: int = 2
    pictures: int = 2


def _finished(finish: str, color: Color, dice: Dice) -> Paint:
    if finish == "painted":
        return plain(color)
    if finish == "papered":
        return stripes(color, mixed(color, (1, 1, 1), 0.3), dice.between(0.4, 0.7))
    if finish == "panelled":
        return wainscot(color, (0.93, 0.92, 0.88), 1.0, 0.7)
    if finish == "wood panelled":
        return wainscot(color, (0.50, 0.35, 0.24), 1.2, 0.6)
    return half_tiled(mixed(color, (1, 1, 1), 0.55), color, 1.4, 0.3)


KINDS: dict[str, _Kind] = {
    "bedroom": _Kind(
        ("green", "blue", "yellow", "pink", "purple", "white"), "papered", "carpet",
        ("bed", "wardrobe", "rug"), ("lamp", "armchair", "cabinet", "plant"), (3.4, 4.4, 3.4, 4.6),
    ),
    "kitchen": _Kind(
        ("yellow", "white", "green", "orange", "blue"), "painted", "checker",
        ("counter", "fridge", "stove", "table"), ("counter", "cabinet", "plant"),
        (3.4, 4.4, 3.4, 4.6), pictures=1,
    ),
    "living room": _Kind(
        ("white", "grey", "orange", "green", "blue", "brown"), "painted", "planks",
        ("sofa", "television", "rug", "coffee_table"), ("lamp", "plant", "bookcase", "armchair"),
        (3.8, 5.0, 3.8, 5.0), pictures=3,
    ),
    "office": _Kind(
        ("grey", "white", "blue", "yellow"), "painted", "grey carpet",
        ("desk", "board", "cabinet"), ("desk", "bookcase", "plant", "lamp"),
        (3.4, 4.4, 3.4, 4.4), pictures=1,
    ),
    "bathroom": _Kind(
        ("blue", "green", "pink", "white", "grey"), "tiled", "tiles",
        ("bathtub", "washbasin", "toilet"), ("cabinet", "plant"), (2.8, 3.6, 2.8, 3.6),
        windows=1, pictures=0,
    ),
    "dining room": _Kind(
        ("red", "green", "blue", "yellow", "purple", "orange"), "panelled", "planks",
        ("table", "cabinet"), ("plant", "lamp", "cabinet"), (3.8, 4.8, 3.8, 4.8), pictures=3,
    ),
    "library": _Kind(
        ("green", "red", "brown", "purple"), "wood panelled", "dark planks",
        ("bookcase", "bookcase", "armchair", "bookcase"), ("bookcase", "lamp", "desk", "rug"),
        (3.4, 4.6, 3.4, 4.6), windows=1, pictures=1,
    ),
    "hallway": _Kind(
        ("white", "pink", "yellow", "orange", "red", "purple"), "panelled", "checker",
        ("coats", "bench", "rug"), ("plant", "cabinet", "lamp"), (2.6, 3.2, 4.4, 5.4),
        doors=3, windows=1, pictures=3,
    ),
}  # fmt: skip


def design_room(dice: Dice) -> Room:
    """Draw a room; every object keeps clear of the others and of the eye."""
    name = dice.pick(tuple(KINDS))
    kind = KINDS[name]
    x0, x1, z0, z1 = kind.size
    size = (dice.between(x0, x1), dice.between(2.5, 2.9), dice.between(z0, z1))
    room = Room(name, size, (size[0] / 2, dice.between(1.35, 1.6), size[2] / 2), _heading(dice))
    _dress_surfaces(room, kind, dice)
    for _ in range(kind.doors):
        _hang_door(room, dice)
    for item in kind.needs:
        _furnish(room, item, dice)
    for _ in range(kind.windows):
        _hang_window(room, dice)
    for item in [dice.pick(kind.extras) for _ in range(3)]:
        _furnish(room, item, dice)
    for _ in range(kind.pictures):
        _hang_picture(room, dice)
    _add_ceiling_light(room)
    room.eye = _find_eye(room, dice)
    return room


def _find_eye(room: Room, dice: Dice) -> tuple[float, float, float]:
    """Of many random places, take the central one that keeps clear of furniture."""
    width, height, depth = room.size[0], room.eye[1], room.size[2]
    best, place = -np.inf, room.eye
    for _ in range(40):
        x, z = width * dice.between(0.22, 0.78), depth * dice.between(0.22, 0.78)
        gaps = [max(x0 - x, x - x1, z0 - z, z - z1) for x0, x1, z0, z1 in room.standing]
        off_center = max(abs(x / width - 0.5), abs(z / depth - 0.5))
        score = min(min(gaps, default=1.0), 0.6) - 0.5 * off_center
        if score > best:
            best, place = score, (x, height, z)
    return place


def _heading(dice: Dice) -> tuple[float, float]:
    """Cosine and sine of a random yaw, from a rational parametrization (no libm)."""
    t = dice.between(0, 1)
    cosine, sine = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    for _ in range(dice.index(4)):
        cosine, sine = -sine, cosine
    return cosine, sine


def _dress_surfaces(room: Room, kind: _Kind, dice: Dice) -> None:
    words = list(kind.walls)
    chosen = tuple(words.pop(dice.index(len(words))) for _ in range(4))
    room.wall_words = chosen
    shades = ((kind.finish, dice.shade(WALL_COLORS[word])) for word in chosen)
    room.surfaces = [_skirted(_finished(*shade, dice)) for shade in shades]
    room.surfaces += [_floor(kind.floor, dice), plain(dice.shade((0.93, 0.92, 0.90)))]


def _skirted(wall: Paint) -> Paint:
    """Put a skirting board under a wall."""
    board = np.asarray((0.88, 0.86, 0.82), np.float32)
    return lambda s, v: np.where((v < 0.1)[:, None], board, wall(s, v))


def _floor(kind: str, dice: Dice) -> Paint:
    tones = (dice.table(16) - 0.5) * 0.16
    if kind == "planks":
        return planks(dice.shade((0.70, 0.52, 0.35)), 0.32, tones)
    if kind == "dark planks":
        return planks(dice.shade((0.46, 0.31, 0.22)), 0.32, tones)
    if kind == "carpet":
        return plain(dice.shade(mixed(COLORS[dice.pick(TEXTILES)], (0.8, 0.75, 0.68), 0.7)))
    if kind == "grey carpet":
        return plain(dice.shade((0.50, 0.52, 0.56)))
    dark = dice.shade((0.62, 0.66, 0.70) if kind == "tiles" else (0.58, 0.50, 0.45))
    return tiled((0.86, 0.85, 0.82), dark, dice.between(0.4, 0.55))


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3]


def _wall_free(room: Room, wall: int, box: Box) -> bool:
    return not any(other == wall and _overlap(box, tuple(taken)) for other, *taken in room.hung)


def _floor_free(room: Room, area: Box) -> bool:
    return not any(_overlap(area, taken) for taken in room.footprints)


def _name(room: Room, name: str) -> int:
    room.names.append(name)
    return len(room.names) - 1


def _find_wall(
    room: Room, width: float, v0: float, v1: float, dice: Dice
) -> tuple[int, float] | None:
    """Find a free stretch of wall: (wall, u0)."""
    for _ in range(12):
        wall = dice.index(4)
        slack = room.wall_length(wall) - width - 0.3
        u0 = 0.15 + dice.between(0, max(slack, 0))
        if slack > 0 and _wall_free(room, wall, (u0 - 0.12, u0 + width + 0.12, v0, v1)):
            return wall, u0
    return None


def _hang(room: Room, panel: Panel) -> None:
    room.panels.append((panel, _name(room, panel.name)))
    room.hung.append((panel.surface, *panel.box))


def _hang_door(room: Room, dice: Dice) -> None:
    size = (1.0, 2.1)
    if (place := _find_wall(room, size[0], 0, size[1], dice)) is None:
        return
    wall, u0 = place
    word = dice.pick(("wooden", "wooden", "white", "blue", "green", "red"))
    frame = mixed(COLORS[word], (0.95, 0.94, 0.9), 0.6 if word != "white" else 0)
    paint = door(size, dice.shade(COLORS[word]), frame)
    _hang(room, Panel(f"{word} door", wall, (u0, u0 + size[0], 0, size[1]), paint))
    room.footprints.append(room.footprint(wall, (u0, u0 + size[0]), (0, 0.8)))


def _hang_window(room: Room, dice: Dice) -> None:
    width, height, sill = dice.between(1.2, 1.9), dice.between(1.1, 1.35), dice.between(0.85, 1.0)
    side = dice.between(0.3, 0.42) if dice.chance(0.55) else 0.0
    if (place := _find_wall(room, width + 2 * side, sill - 0.3, sill + height + 0.1, dice)) is None:
        return
    wall, u0 = place
    city = dice.chance(0.4)
    skyline = 0.2 + 0.4 * dice.table(9)
    land = dice.shade((0.55, 0.56, 0.62) if city else (0.45, 0.62, 0.38))
    sky = dice.shade((0.50, 0.72, 0.94) if dice.chance(0.7) else (0.96, 0.75, 0.55))
    paint = window((width, height), (0.96, 0.95, 0.93), sky, land, skyline, city)
    box = (u0 + side, u0 + side + width, sill, sill + height)
    _hang(room, Panel("window" if width < 1.6 else "wide window", wall, box, paint, glows=True))
    x, z = room.point(wall, u0 + side + width / 2, 0.05)
    room.windows.append((x, sill + height / 2, z))
    if side:
        low, high = sill - 0.25, sill + height + 0.12
        word = dice.pick(TEXTILES)
        part, owner = curtain(word, side, high - low), _name(room, f"{word} curtains")
        for start in (u0, u0 + side + width):
            _stand(room, part, wall, start, 0.0, owner, lift=low)
        room.hung.append((wall, u0, u0 + side + width + side, low, high))


def _stand(
    room: Room, part: Part, wall: int, u0: float, w0: float, owner: int, lift: float = 0.0
) -> None:
    """Move a part from a wall's frame into the room's."""
    u, w = (part.low[0] + u0, part.high[0] + u0), (part.low[2] + w0, part.high[2] + w0)
    x0, x1, z0, z1 = room.footprint(wall, u, w)
    moved = replace(part, low=(x0, part.low[1] + lift, z0), high=(x1, part.high[1] + lift, z1))
    room.solids.append(Solid(moved, 2 if wall % 2 == 0 else 0, owner))


def _furnish(room: Room, item: str, dice: Dice) -> None:
    if item == "rug":
        _lay_rug(room, dice)
    elif item == "board":
        _hang_board(room, dice)
    else:
        _place(room, FURNITURE[item](dice), item in ("table", "coffee_table"), dice)


def _place(room: Room, piece: Piece, free: bool, dice: Dice) -> None:
    """Stand a piece at a wall (or anywhere, if `free`); give up if there is no room for it."""
    width, height, depth = piece.size
    for _ in range(30):
        wall = dice.index(4)
        slack = room.wall_length(wall) - width - 0.1
        reach = room.wall_length(wall + 1) - depth - 0.2
        u0 = 0.05 + dice.between(0, max(slack, 0))
        w0 = 0.1 + dice.between(0, max(reach, 0)) if free else 0.0
        area = room.footprint(wall, (u0, u0 + width), (w0, w0 + depth))
        box = (u0 - 0.03, u0 + width + 0.03, 0.0, height + 0.05)
        if slack < 0 or reach < 0 or not _floor_free(room, area):
            continue
        if free or _wall_free(room, wall, box):
            break
    else:
        return
    owner = _name(room, piece.name)
    for part in piece.parts:
        _stand(room, part, wall, u0, w0, owner)
    room.footprints.append(area)
    room.standing.append(area)
    if not free:
        room.hung.append((wall, u0, u0 + width, 0.0, height))
        room.leaning.append((wall, (u0, u0 + width, 0.0, height)))


def _lay_rug(room: Room, dice: Dice) -> None:
    word = dice.pick(TEXTILES)
    color = dice.shade(COLORS[word])
    width, depth = room.size[0] * dice.between(0.45, 0.6), room.size[2] * dice.between(0.4, 0.55)
    x0, z0 = (room.size[0] - width) / 2, (room.size[2] - depth) / 2
    paint = bordered(color, mixed(color, (1, 1, 1), 0.5), (width, depth), 0.12)
    panel = Panel(f"{word} rug", FLOOR, (x0, x0 + width, z0, z0 + depth), paint)
    room.panels.append((panel, _name(room, panel.name)))


def _hang_board(room: Room, dice: Dice) -> None:
    size = (dice.between(1.3, 1.7), 0.95)
    if (place := _find_wall(room, size[0], 1.3, 1.3 + size[1], dice)) is None:
        return
    wall, u0 = place
    paint = screen(size, (0.45, 0.46, 0.48), (0.97, 0.97, 0.98), 0.06)
    _hang(room, Panel("whiteboard", wall, (u0, u0 + size[0], 1.3, 1.3 + size[1]), paint))


def _hang_picture(room: Room, dice: Dice) -> None:
    size = (dice.between(0.6, 1.0), dice.between(0.6, 0.85))
    if (place := _find_wall(room, size[0], 1.3, 1.3 + size[1], dice)) is None:
        return
    wall, u0 = place
    colors = np.stack([dice.shade(COLORS[dice.pick(TEXTILES)]) for _ in range(3)])
    frame = COLORS[dice.pick(("wooden", "black", "white", "yellow"))]
    paint = picture(size, frame, colors, dice.index(3))
    _hang(room, Panel("picture", wall, (u0, u0 + size[0], 1.3, 1.3 + size[1]), paint))


def _add_ceiling_light(room: Room) -> None:
    x, height, z = room.size[0] / 2, room.size[1], room.size[2] / 2
    low, high = (x - 0.28, height - 0.2, z - 0.28), (x + 0.28, height + 0.02, z + 0.28)
    shade = Part(low, high, plain((1.0, 0.97, 0.88)), shape="ball", glows=True)
    room.solids.append(Solid(shade, 2, _name(room, "")))
