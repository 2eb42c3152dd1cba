"""Films of figures: GIF files of a size that a page can bear."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from skfem import CellBasis

from skfem_ml.pictures.fields import colour_bar, plot_nodal, shared_norm
from skfem_ml.pictures.style import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

COLOURS = (256, 128, 64, 32, 16)
NEARLY_WHITE = 246  # of 255, in all channels


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

    The layout is that of the first frame. One palette serves all, of as many of 256, 128, 64, 32 or 16 colours as
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


def nodal_film(
    path: str | Path, basis: CellBasis, states: Mapping[str, ArrayLike], times: ArrayLike, *, label: str = "$u$"
) -> None:
    """Write finite element functions over time as a GIF, side by side and on one scale: ``{title: (times, basis.N)}``.

    ``label`` is that of the colour bar. Raises as `save_film`, and as `plot_nodal` for other shapes.
    """
    fields = {title: np.asarray(u, dtype=float) for title, u in states.items()}
    moments, norm = np.asarray(times, dtype=float), shared_norm(*fields.values(), log=False)
    with figure(4.4 * len(fields) + 0.6, 4.7) as picture:
        panels = np.atleast_1d(picture.subplots(1, len(fields)))

        def update(frame: int) -> None:
            for axes, (title, u) in zip(panels, fields.items(), strict=True):
                for old in list(axes.collections):
                    old.remove()
                drawn = plot_nodal(axes, basis, u[frame], norm=norm)
                axes.set_title(f"{title}, $t = {moments[frame]:.3g}$")
            if not panels[-1].child_axes:
                colour_bar(panels[-1], drawn, label)

        save_film(path, picture, update, len(moments), milliseconds=120)


def _pixels(picture: Figure) -> Image:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(picture)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _write(path: Path, frames: list[Image], colours: int, milliseconds: int) -> None:
    from PIL import Image

    width, height = frames[0].size
    some = frames[:: max(1, len(frames) // 8)]
    sheet = Image.new("RGB", (width, height * len(some)))
    for row, frame in enumerate(some):
        sheet.paste(frame, (0, row * height))
    # The default would spend no colour on a peak that few frames have.
    palette = sheet.quantize(colours, method=Image.Quantize.MAXCOVERAGE)
    table = np.array(palette.getpalette()).reshape(-1, 3)
    table[table.min(axis=1) >= NEARLY_WHITE] = 255  # else paper would take the colour next to its own
    palette.putpalette(table.ravel().tolist())
    reduced = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    reduced[0].save(path, save_all=True, append_images=reduced[1:], duration=milliseconds, loop=0, optimize=False)
