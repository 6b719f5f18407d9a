"""The drawn scenes against the rules of the task, measured here by dense sampling; pictures against scenes."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.stats import kstest

from seqboat_lab.data.generators import pathfinder as generator
from seqboat_lab.data.generators.pathfinder import SETTINGS, Ground, draw_image, draw_scene, next_paddle, render

SIZES = {16: 60, 32: 40, 64: 30, 128: 24, 256: 24}


@cache
def scenes(size):
    return [draw_scene(3, size, index) for index in range(SIZES[size])]


def every_snake(scene):
    return [*scene.snakes, *scene.distractors]


def sampled(paddle, steps=60):
    """Points along a paddle's centre line, (steps, 2)."""
    t = np.linspace(0, 1, steps)[:, None]
    return paddle[:2] * (1 - t) + paddle[2:] * t


def distance(one, other):
    return np.sqrt(((sampled(one)[:, None] - sampled(other)[None]) ** 2).sum(-1)).min()


@pytest.mark.parametrize("size", SIZES)
def test_no_two_paddles_come_nearer_than_the_margin(size):
    """Up to the grid on which overlaps are looked up: about one cell of it."""
    tolerance = 1.1 / Ground(SETTINGS[size], 1).scale
    for scene in scenes(size)[:8]:
        paddles = np.concatenate(every_snake(scene))
        near = [distance(a, b) for i, a in enumerate(paddles) for b in paddles[:i]]
        assert min(near) > SETTINGS[size].thickness + scene.margin - tolerance


@pytest.mark.parametrize("size", SIZES)
def test_snakes_have_their_lengths_gaps_and_turns(size):
    s = SETTINGS[size]
    for scene in scenes(size):
        assert [len(snake) for snake in scene.snakes] == [s.contour_length] * 2
        assert all(len(snake) == s.contour_length // 3 for snake in scene.distractors)
        assert len(scene.distractors) <= s.distractors
        gap = s.thickness + scene.margin + 1 / Ground(s, scene.margin).scale
        for snake in every_snake(scene):
            along = snake[:, 2:] - snake[:, :2]
            np.testing.assert_allclose(np.hypot(*along.T), s.paddle_length)
            np.testing.assert_allclose(np.hypot(*(snake[1:, :2] - snake[:-1, 2:]).T), gap)
            headings = np.arctan2(along[:, 1], along[:, 0])
            turns = (np.diff(headings) + np.pi) % (2 * np.pi) - np.pi
            assert np.all(np.abs(turns) <= np.pi / 2 / s.continuity + 1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_everything_lies_inside_the_picture(size):
    for scene in scenes(size):
        points = np.concatenate(every_snake(scene)).reshape(-1, 2)
        assert points.min() >= 1
        assert points.max() <= size - 1


def test_at_256_pixels_the_official_default_padding_of_22_pixels_stays_free_of_paddles():
    for scene in scenes(256):
        points = np.concatenate(every_snake(scene)).reshape(-1, 2)
        radius = SETTINGS[256].thickness / 2
        assert points.min() - radius >= 22
        assert points.max() + radius <= 256 - 22


def test_the_brightness_at_32_pixels_is_that_of_the_official_generator():
    """25/50/75 % quantiles of its ink over 150 images: 0.41 / 0.60 / 0.68. Ink is what is brighter than 0.15: below
    are the faint rings of the Lanczos reduction. (With the former contrasts the same measure gave .20 / .27 / .33.)"""
    pictures = np.stack([draw_image(0, 32, index)[0] for index in range(150)]) / 255
    quantiles = np.quantile(pictures[pictures > 0.15], [0.25, 0.5, 0.75])
    np.testing.assert_allclose(quantiles, [0.41, 0.60, 0.68], atol=0.05)


@pytest.mark.parametrize("size", SIZES)
def test_the_snakes_start_at_the_seed_distance_away_from_the_border(size):
    s = SETTINGS[size]
    for scene in scenes(size):
        first, second = (snake[0, :2] for snake in scene.snakes)
        assert np.hypot(*(first - second)) == pytest.approx(s.seed_distance)
        assert min(first.min(), size - first.max()) >= min(2 * s.seed_distance, size / 2) - 1e-9


@pytest.mark.parametrize("size", SIZES)
def test_the_markers_join_one_snake_for_label_1_and_two_for_label_0(size):
    labels = set()
    for scene in scenes(size):
        origins = [snake[0, :2].tolist() for snake in scene.snakes]
        terminals = [snake[-1, 2:].tolist() for snake in scene.snakes]
        start, end = origins.index(scene.markers[0].tolist()), terminals.index(scene.markers[1].tolist())
        assert scene.label == int(start == end)
        labels.add((scene.label, start))
    assert len(labels) == 4


def test_labels_are_balanced_to_within_sampling_error():
    labels = [draw_scene(0, 16, index).label for index in range(600)]
    assert abs(np.mean(labels) - 0.5) < 4 * 0.5 / 600**0.5


@pytest.mark.parametrize("continuity", [1.0, 1.8])
def test_turns_are_drawn_with_the_squared_cosine(continuity):
    """On free ground, against the exact distribution: density proportional to cos^2(u), u = continuity * turn."""
    settings = replace(SETTINGS[256], continuity=continuity)
    ground, rng = Ground(settings, 1), np.random.default_rng(0)
    turns = np.array([next_paddle(ground, settings, rng, 128.0, 128.0, 0.3)[1] - 0.3 for _ in range(2000)])
    result = kstest(continuity * turns, lambda u: (u + np.sin(2 * u) / 2 + np.pi / 2) / np.pi)
    assert result.pvalue > 1e-3


def test_nothing_is_drawn_where_no_direction_is_free():
    settings = SETTINGS[32]
    ground = Ground(settings, 1)
    ground.blocked[:] = True
    assert next_paddle(ground, settings, np.random.default_rng(0), 16.0, 16.0, 0.0) is None


@pytest.mark.parametrize("size", [32, 128, 256])
def test_the_picture_shows_the_scene(size):
    """Every paddle and disc is bright along its middle, everything else is dark, discs have their area."""
    s = SETTINGS[size]
    for scene in scenes(size)[:4]:
        picture = render(scene, size).astype(float) / 255
        assert picture.shape == (size, size)
        for snake, contrast in zip(every_snake(scene), scene.contrasts, strict=True):
            x, y = ((snake[:, :2] + snake[:, 2:]) / 2).astype(int).T
            around = np.max([picture[y + dy, x + dx] for dy in (0, 1, -1) for dx in (0, 1, -1)], axis=0)
            assert around.min() > 0.2 * contrast
        for x, y in scene.markers.astype(int):
            assert picture[np.clip(y, 0, size - 1), np.clip(x, 0, size - 1)] > 0.9
        lit = np.argwhere(picture > 0.12)[:, ::-1] + 0.5  # (n, 2) as x, y
        things = np.concatenate([sampled(p) for p in np.concatenate(every_snake(scene))] + [scene.markers])
        away = np.sqrt(((lit[:, None] - things[None]) ** 2).sum(-1)).min(axis=1)
        assert away.max() < s.marker_radius + 1.5
    alone = replace(scene, markers=np.full((2, 2), size / 2), snakes=(np.zeros((0, 4)),) * 2, distractors=[])
    disc = render(replace(alone, contrasts=scene.contrasts[:2]), size).sum() / 255
    assert disc == pytest.approx(np.pi * s.marker_radius**2, rel=0.1)


def test_an_image_depends_on_seed_size_and_index_alone():
    one, label = draw_image(5, 32, 7)
    draw_image(5, 32, 8)
    again, same_label = draw_image(5, 32, 7)
    np.testing.assert_array_equal(one, again)
    assert label == same_label
    for other in ((5, 32, 8), (6, 32, 7)):
        assert not np.array_equal(one, draw_image(*other)[0])


def test_a_contrast_above_1_is_clipped_where_the_image_is_saved():
    """A bar half a pixel wide on its own column of pixels covers about half of them, more with Lanczos' sharpening."""
    bar, empty, far = np.array([[16.5, 12.5, 16.5, 14.5]]), np.zeros((0, 4)), np.full((2, 2), 2.0)

    def lit(contrast):
        return render(generator.Scene(1, 1, (bar, empty), [], far, np.array([contrast, 0])), 32)[13, 16] / 255

    assert lit(1.0) == pytest.approx(0.5, abs=0.1)
    assert lit(1.5) == pytest.approx(1.5 * lit(1.0), abs=0.01)
    assert lit(2.0) == 1.0


def test_the_official_settings():
    assert [SETTINGS[n].contrast for n in (32, 64, 128, 256)] == [1.5, 0.8, 0.9, 1.0]
    assert [SETTINGS[n].distractor_contrast for n in (32, 64, 128, 256)] == [2.0, 0.8, 0.9, 1.0]
    assert [SETTINGS[n].padding for n in (32, 64, 128, 256)] == [1, 1, 1, 22]
    assert generator.SETTINGS[32].contour_length == 14
    assert [SETTINGS[n].distractors for n in (32, 64, 128, 256)] == [5, 5, 8, 7]
    assert [SETTINGS[n].distractor_length for n in (32, 64, 128, 256)] == [4, 4, 4, 4]
