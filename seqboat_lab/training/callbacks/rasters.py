"""Pictures of which tokens each layer activates: strips of whole samples, and the tokens themselves."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

COLUMNS, CELL, MARGIN = 100, (8, 16), 8  # characters a line; pixels of a character; pixels around
WHITE, BLUE = np.array([255, 255, 255]), np.array([90, 160, 230])


def activation_raster(confidence: list[np.ndarray], lengths: np.ndarray, title: str = "") -> Figure:
    """Which tokens each layer activates.

    Args:
        confidence: per layer (B, L), 0 where inactive.
        lengths: (B,) real tokens of each sample.

    Returns:
        One strip per sample, layers from bottom (first) to top, tokens from left to right; darker is more
        confident, white is inactive, grey is padding.
    """
    samples, length = confidence[0].shape
    figure, axes = plt.subplots(samples, 1, figsize=(7, 0.9 + 1.1 * samples), sharex=True, squeeze=False)
    grid = np.stack(confidence)  # (layers, B, L)
    for i, axis in enumerate(axes[:, 0]):
        strip = np.ma.masked_array(grid[:, i], np.broadcast_to(np.arange(length) >= lengths[i], grid[:, i].shape))
        colours = plt.colormaps["Blues"].with_extremes(bad="0.9")
        axis.imshow(strip, aspect="auto", origin="lower", cmap=colours, vmin=0, vmax=1, interpolation="nearest")
        axis.set_yticks(range(len(grid)), [str(n) for n in range(len(grid))], fontsize=11)
        axis.set_ylabel("layer", fontsize=11)
        rate = strip.astype(bool).mean()
        axis.text(1.005, 0.5, f"{rate:.0%}", transform=axis.transAxes, fontsize=11, va="center")
    axes[-1, 0].set_xlabel("token (darker: more confident; white: inactive; right: active share)", fontsize=11)
    figure.suptitle(title, fontsize=12)
    figure.tight_layout()
    return figure


def token_raster(tokens: Sequence[str], confidence: Sequence[np.ndarray]) -> np.ndarray:
    """The tokens as a person reads them, once per layer; active ones in blue, darker where it is more confident.

    Args:
        tokens: what is read at each position, as `decode` tells it; single characters stand side by side and "¶" ends
            a line, longer tokens have a space between them.
        confidence: per layer (len(tokens),), 0 where inactive.

    Returns:
        An RGB image (height, width, 3) uint8.
    """
    places = layout(tokens)
    (wide, high), lines = CELL, places[-1][0] + 1 if places else 1
    panel = (lines + 2) * high  # a title above, a free line below
    image = Image.new("RGB", (COLUMNS * wide + 2 * MARGIN, panel * len(confidence) + 2 * MARGIN), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.truetype(findfont("DejaVu Sans Mono"), 13)
    for layer, weights in enumerate(confidence):
        top = MARGIN + layer * panel
        share = np.mean(weights > 0) if len(weights) else 0.0
        draw.text((MARGIN, top), f"layer {layer}: {share:.0%} of these tokens active", fill=(120, 120, 120), font=font)
        for token, (row, column), weight in zip(tokens, places, weights, strict=True):
            x, y = MARGIN + column * wide, top + (row + 1) * high
            if weight > 0:
                colour = WHITE + (BLUE - WHITE) * (0.25 + 0.75 * min(1.0, float(weight)))
                right = x + max(1, len(token)) * wide - 1
                draw.rectangle((x, y, right, y + high - 1), fill=tuple(colour.astype(int).tolist()))
            draw.text((x, y), token, fill=(160, 160, 160) if token in "·¶" else "black", font=font)
    return np.asarray(image)


def layout(tokens: Sequence[str]) -> list[tuple[int, int]]:
    """Line and column of each token's first character, in lines of `COLUMNS` characters."""
    gap = 1 if any(len(token) > 1 for token in tokens) else 0
    places, row, column = [], 0, 0
    for token in tokens:
        if column and column + len(token) > COLUMNS:
            row, column = row + 1, 0
        places.append((row, column))
        row, column = (row + 1, 0) if token == "¶" else (row, column + max(1, len(token)) + gap)
    return places
