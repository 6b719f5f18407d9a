"""Pathfinder images (Linsley et al. 2018, arXiv 1805.08315) with the Long Range Arena's settings.

Image `index` is a pure function of (seed, size, index): the data is the same for any number of processes.
Lengths are in pixels of the final image, coordinates are (x, y), a paddle is a row (x0, y0, x1, y1).
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

VERSION = 2
"""Part of the name of what is generated: images of other rules are never mistaken for these."""
DIRECTIONS = 24
"""Directions tried for the next paddle."""
FRACTIONS = np.arange(DIRECTIONS) / DIRECTIONS
SUPERSAMPLING = 2
BACKTRACK, RETRIES = 4, 8
"""A stuck snake goes back by so many paddles, so many times; then the scene starts over."""


@dataclass(frozen=True)
class Settings:
    """One row of the generator's table."""

    size: int
    seed_distance: float
    marker_radius: float
    paddle_length: float
    thickness: float
    margins: tuple[float, ...]
    continuity: float
    distractors: int
    contrast: float
    """Brightness of the long snakes, above 1 too: a thin paddle covers only a part of each of its pixels."""
    distractor_contrast: float
    padding: int = 1
    """Pixels at the border that no paddle enters."""
    contour_length: int = 14

    @property
    def distractor_length(self) -> int:
        return self.contour_length // 3


SETTINGS = {
    s.size: s
    for s in (
        Settings(16, 5, 1.0, 2, 0.5, (1,), 1.0, 1, 1.5, 2.0, contour_length=4),  # ours, for quick trials
        # Official: snake contrast 2 x paddle contrast 0.75; distractors have the snake contrast alone.
        Settings(32, 7, 1.5, 2, 0.5, (1,), 1.0, 20 // 4, 2 * 0.75, 2.0),
        Settings(64, 12, 2.5, 5, 1.0, (1,), 1.8, 22 // 4, 0.8, 0.8),
        Settings(128, 20, 3.0, 5, 1.5, (2, 3), 1.8, 35 // 4, 0.9, 0.9),
        Settings(256, 27, 5.0, 5, 2.0, (3,), 1.8, 30 // 4, 1.0, 1.0, padding=22),  # the official default
    )
}


@dataclass(frozen=True)
class Scene:
    """The geometry of one image: what is where, and which ends are marked."""

    label: int
    margin: float
    snakes: tuple[np.ndarray, np.ndarray]
    """The two long snakes, (contour_length, 4) each, in the order they grew."""
    distractors: list[np.ndarray]
    """Short snakes, (distractor_length, 4) each."""
    markers: np.ndarray
    """(2, 2) centres of the discs."""
    contrasts: np.ndarray
    """Brightness of each snake: the two long ones, then the distractors."""


class Ground:
    """Which places a paddle's centre line may still enter, on a grid of `scale` cells a pixel."""

    def __init__(self, settings: Settings, margin: float):
        self.size = settings.size
        self.scale = 4 if settings.size <= 64 else 2
        self.cells = settings.size * self.scale
        # Two paddles keep the margin between their drawn edges: thickness + margin between their centre lines.
        self.reach = settings.thickness + margin
        # One cell more, so that a paddle's own predecessor never blocks it through rounding.
        self.gap = self.reach + 1 / self.scale
        steps = int(np.ceil(settings.paddle_length * self.scale / 2))
        self.along = np.linspace(0, settings.paddle_length, steps + 1)  # (P,) sample points on a paddle
        # A frame that no paddle can leap over, so that no point needs to be checked against the border.
        self.frame = int(np.ceil((self.gap + settings.paddle_length) * self.scale)) + 1
        self.blocked = np.ones((self.cells + 2 * self.frame,) * 2, bool)
        border = self.frame + int(np.ceil((settings.padding + margin + settings.thickness / 2) * self.scale))
        self.blocked[border:-border, border:-border] = False

    def free(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether points may be entered; any shape."""
        column, row = (x * self.scale + self.frame).astype(np.int64), (y * self.scale + self.frame).astype(np.int64)
        return ~self.blocked.ravel().take(row * len(self.blocked) + column)

    def block(self, paddle: np.ndarray, reach: float) -> None:
        """Close everything nearer than `reach` to the paddle."""
        squared, rows, columns = squared_distance(paddle, reach, self.scale, self.cells)
        inside = self.blocked[self.frame : -self.frame, self.frame : -self.frame]
        inside[rows, columns] |= squared < reach * reach


def squared_distance(paddle: np.ndarray, reach: float, scale: int, cells: int) -> tuple[np.ndarray, slice, slice]:
    """Squared distance in pixels of cells' centres to a segment, in the window where it may be below `reach`."""
    x0, y0, x1, y1 = paddle.tolist()
    left, right = max(int((min(x0, x1) - reach) * scale), 0), min(int((max(x0, x1) + reach) * scale) + 2, cells)
    top, bottom = max(int((min(y0, y1) - reach) * scale), 0), min(int((max(y0, y1) + reach) * scale) + 2, cells)
    x = np.arange(left + 0.5, right) / scale - x0
    y = (np.arange(top + 0.5, bottom) / scale - y0)[:, None]
    dx, dy = x1 - x0, y1 - y0
    length2 = dx * dx + dy * dy
    if length2 > 0:
        t = x * (dx / length2) + y * (dy / length2)
        t = np.maximum(np.minimum(t, 1), 0)  # np.clip does the same at three times the cost
        x, y = x - t * dx, y - t * dy
    return x * x + y * y, slice(top, bottom), slice(left, right)


def next_paddle(
    ground: Ground, settings: Settings, rng: np.random.Generator, x: float, y: float, heading: float | None
) -> tuple[np.ndarray, float] | None:
    """A free paddle that continues at (x, y) and its heading; None if no direction is free.

    heading None: the first paddle of a snake, which starts at (x, y) in any direction. Else it starts after a
    gap, turned by an angle that is drawn with weight cos^2(continuity * turn).
    """
    jitter = rng.random()
    if heading is None:
        angles = 2 * np.pi * (FRACTIONS + jitter / DIRECTIONS)
        weights: float | np.ndarray = 1.0
        start = 0.0
    else:
        limit = np.pi / 2 / settings.continuity
        turns = limit * (2 * (FRACTIONS + jitter / DIRECTIONS) - 1)
        angles, start = heading + turns, ground.gap
        weights = np.cos(settings.continuity * turns) ** 2
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]  # (K, 1)
    along = start + ground.along
    free = ground.free(x + along * cos, y + along * sin).all(axis=1)  # (K,)
    cumulative = (weights * free).cumsum()
    if cumulative[-1] <= 0:
        return None
    k = int(cumulative.searchsorted(rng.random() * cumulative[-1], side="right"))
    c, s, end = cos[k, 0], sin[k, 0], start + settings.paddle_length
    return np.array([x + start * c, y + start * s, x + end * c, y + end * s]), float(angles[k])


def grow(
    ground: Ground, settings: Settings, rng: np.random.Generator, starts: list[tuple[float, float]], length: int
) -> list[np.ndarray] | None:
    """Snakes of `length` paddles from `starts`, growing in turn; blocks where they lie.

    When one is stuck, all go back by BACKTRACK paddles, RETRIES times in all; None after that.
    """
    snakes: list[list[np.ndarray]] = [[] for _ in starts]
    tips: list[tuple[float, float, float | None]] = [(x, y, None) for x, y in starts]
    history: list[tuple[np.ndarray, list]] = []
    retries = RETRIES
    while len(history) < length:
        history.append((ground.blocked.copy(), tips.copy()))
        for i, tip in enumerate(tips):
            found = next_paddle(ground, settings, rng, *tip)
            if found is None:
                break
            paddle, heading = found
            ground.block(paddle, ground.reach)
            snakes[i].append(paddle)
            tips[i] = (paddle[2], paddle[3], heading)
        else:
            continue
        if retries == 0:
            return None
        retries -= 1
        back = max(len(history) - BACKTRACK, 0)
        ground.blocked, tips = history[back]
        del history[back:]
        snakes = [snake[:back] for snake in snakes]
    return [np.array(snake) for snake in snakes]


def two_snakes(settings: Settings, margin: float, rng: np.random.Generator) -> tuple[Ground, list[np.ndarray]]:
    """The two long snakes and the ground they leave free."""
    border = 2 * settings.seed_distance
    low, high = min(border, settings.size / 2), max(settings.size - border, settings.size / 2)
    while True:  # at every size of the table a scene succeeds within a few attempts on average
        ground = Ground(settings, margin)
        x, y = low + (high - low) * rng.random(2)
        angle = 2 * np.pi * rng.random()
        other = (x + settings.seed_distance * np.cos(angle), y + settings.seed_distance * np.sin(angle))
        snakes = grow(ground, settings, rng, [(x, y), other], settings.contour_length)
        if snakes is not None:
            return ground, snakes


def draw_distractors(ground: Ground, settings: Settings, rng: np.random.Generator) -> list[np.ndarray]:
    """Short snakes, as many as the settings ask for or as fit."""
    found: list[np.ndarray] = []
    for _ in range(4 * settings.distractors):
        if len(found) == settings.distractors:
            break
        x, y = settings.size * rng.random((2, 32))
        free = np.flatnonzero(ground.free(x, y))
        if len(free) == 0:
            continue
        before = ground.blocked.copy()
        start = (x[free[0]], y[free[0]])
        snake = grow(ground, settings, rng, [start], settings.distractor_length)
        if snake is None:
            ground.blocked = before
        else:
            found += snake
    return found


def draw_scene(seed: int, size: int, index: int) -> Scene:
    """Where everything lies in image `index`."""
    settings = SETTINGS[size]
    rng = np.random.default_rng([seed, size, index])
    label = int(rng.random() < 0.5)  # first: no later rejection can depend on it
    margin = settings.margins[int(rng.random() * len(settings.margins))]
    ground, snakes = two_snakes(settings, margin, rng)
    origins = np.array([snake[0, :2] for snake in snakes])
    terminals = np.array([snake[-1, 2:] for snake in snakes])
    for point in (*origins, *terminals):  # all four ends, so that the free space does not tell the label
        ground.block(np.tile(point, 2), settings.marker_radius + ground.reach - settings.thickness / 2)
    distractors = draw_distractors(ground, settings, rng)
    first = int(rng.random() < 0.5)
    markers = np.stack([origins[first], terminals[first if label == 1 else 1 - first]])
    contrasts = np.array([settings.contrast] * 2 + [settings.distractor_contrast] * len(distractors))
    return Scene(label, margin, (snakes[0], snakes[1]), distractors, markers, contrasts)


def render(scene: Scene, size: int) -> np.ndarray:
    """(size, size) uint8 picture, joined by maximum and clipped at the end, so that a contrast above 1 shows.

    Paddles are drawn as in the official generator, whose brightness depends on it: each on a grid of its own that is
    twice as fine and centred on a pixel, without soft edges, reduced by Lanczos, and only then given its contrast.
    """
    settings, picture = SETTINGS[size], _discs(scene, size)
    reach = int(settings.paddle_length + np.ceil(settings.thickness) + scene.margin)
    picture = np.pad(picture, reach)
    for snake, contrast in zip((*scene.snakes, *scene.distractors), scene.contrasts, strict=True):
        for x0, y0, x1, y1 in snake.tolist():
            window = picture[int(y0) :, int(x0) :][: 2 * reach + 1, : 2 * reach + 1]
            np.maximum(window, contrast * _paddle(x1 - x0, y1 - y0, reach, settings.thickness), out=window)
    return np.round(picture[reach:-reach, reach:-reach].clip(0, 1) * 255).astype(np.uint8)


def _paddle(dx: float, dy: float, reach: int, thickness: float) -> np.ndarray:
    """A line from the middle pixel to (dx, dy) beside it: (2 * reach + 1, 2 * reach + 1) in 0 ... 1."""
    large = Image.new("L", (4 * reach + 1,) * 2)
    middle, width = 2 * reach, round(SUPERSAMPLING * thickness)
    end = (middle + round(SUPERSAMPLING * dx), middle + round(SUPERSAMPLING * dy))
    ImageDraw.Draw(large).line([(middle, middle), end], fill=255, width=width)
    return np.asarray(large.resize((2 * reach + 1,) * 2, Image.Resampling.LANCZOS)) / 255


def _discs(scene: Scene, size: int) -> np.ndarray:
    """The markers: (size, size) in 0 ... 1, drawn twice as large with soft edges and reduced by Lanczos."""
    cells, radius = size * SUPERSAMPLING, SETTINGS[size].marker_radius
    canvas = np.zeros((cells, cells), np.uint8)
    soft = 0.5 / SUPERSAMPLING  # half a cell: full inside the edge, nothing outside
    for marker in scene.markers:
        squared, rows, columns = squared_distance(np.tile(marker, 2), radius + soft, SUPERSAMPLING, cells)
        cover = ((radius + soft - np.sqrt(squared)) / (2 * soft)).clip(0, 1)
        disc = np.round(cover * 255).astype(np.uint8)
        np.maximum(canvas[rows, columns], disc, out=canvas[rows, columns])
    return np.asarray(Image.fromarray(canvas).resize((size, size), Image.Resampling.LANCZOS)) / 255


def draw_image(seed: int, size: int, index: int) -> tuple[np.ndarray, int]:
    """Picture (size, size) uint8 and label of image `index`."""
    scene = draw_scene(seed, size, index)
    return render(scene, size), scene.label
