"""A contact sheet of generated Pathfinder images: can a person tell the labels apart?"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from seqboat_lab.data.files.files import writing
from seqboat_lab.data.generators.pathfinder import draw_image

COLUMNS, FRAME, CAPTION = 8, 2, 16


def save_sheet(path: Path | str, size: int, seed: int = 0, count: int = 32) -> Path:
    """Write a PNG with the first `count` images of both labels in equal number: connected above, not below."""
    by_label: dict[int, list[np.ndarray]] = {1: [], 0: []}
    index = 0
    while min(map(len, by_label.values())) < count // 2:
        pixels, label = draw_image(seed, size, index)
        by_label[label].append(pixels)
        index += 1
    zoom = max(1, 256 // size)
    cell, rows = size * zoom + FRAME, -(-(count // 2) // COLUMNS)
    half = CAPTION + rows * cell
    sheet = Image.new("L", (COLUMNS * cell, 2 * half), 96)
    draw = ImageDraw.Draw(sheet)
    captions = {1: "label 1: one curve joins the discs", 0: "label 0: the discs are on different curves"}
    for top, (label, images) in zip((0, half), by_label.items(), strict=True):
        draw.text((4, top + 2), captions[label], fill=255)
        for i, pixels in enumerate(images[: count // 2]):
            picture = Image.fromarray(pixels).resize((size * zoom, size * zoom), Image.Resampling.NEAREST)
            sheet.paste(picture, (i % COLUMNS * cell, top + CAPTION + i // COLUMNS * cell))
    path = Path(path)
    with writing(path, "another path"):
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path, "PNG")
    return path
