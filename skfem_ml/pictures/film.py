"""Films of figures: GIF files of a size that a page can bear."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

COLOURS = (128, 64, 32, 16)


def save_film(
    path: str | Path,
    picture: Figure,
    update: Callable[[int], object],
    count: int,
    *,
    milliseconds: int = 100,
    dpi: int = 60,
    limit: int = 1_000_000,
) -> None:
    """Write ``count`` frames of one figure as an endless GIF: ``update(k)`` changes its artists to those of frame k.

    The layout is that of the first frame. One palette serves all frames, of as many of 128, 64, 32 or 16 colours as
    keep the file within ``limit`` bytes. Raises ValueError where 16 do not: fewer frames or a smaller ``dpi`` then.
    """
    picture.set_dpi(dpi)
    frames = []
    for k in range(count):
        update(k)
        frames.append(_pixels(picture))
        picture.set_layout_engine("none")  # after the first: panels must not move
    for colours in COLOURS:
        _write(Path(path), frames, colours, milliseconds)
        if Path(path).stat().st_size <= limit:
            return
    raise ValueError(f"{path}: expected at most {limit} bytes, got {Path(path).stat().st_size} with {colours} colours")


def _pixels(picture: Figure) -> Image:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(picture)
    canvas.draw()
    return Image.fromarray(canvas.buffer_rgba()).convert("RGB")


def _write(path: Path, frames: list[Image], colours: int, milliseconds: int) -> None:
    from PIL import Image

    width, height = frames[0].size
    some = frames[:: max(1, len(frames) // 4)]
    sheet = Image.new("RGB", (width, height * len(some)))
    for row, frame in enumerate(some):
        sheet.paste(frame, (0, row * height))
    palette = sheet.quantize(colours)
    reduced = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    reduced[0].save(path, save_all=True, append_images=reduced[1:], duration=milliseconds, loop=0, optimize=False)
