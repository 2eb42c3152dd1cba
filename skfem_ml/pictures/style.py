"""One look for all pictures: sizes, fonts, Okabe and Ito's colours, in ``style.mplstyle`` beside this file.

``with figure(11, 6) as picture: ...`` is all that a demo needs. matplotlib is imported by the functions that draw.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib import RcParams
    from matplotlib.figure import Figure


@contextmanager
def figure(width: float, height: float) -> Iterator[Figure]:
    """Give an empty figure of ``width`` by ``height`` inches, and draw in the package's style until the block ends.

    The figure keeps the style: it looks the same whenever it is drawn or saved. It belongs to no window
    (``picture.savefig(path)``), its panels are laid out so that nothing overlaps, and ``matplotlib.rcParams`` are after
    the block what they were before::

        with figure(8, 4) as picture:
            left, right = picture.subplots(1, 2)
            ...
        picture.savefig("picture.png")
    """
    with style():
        yield _styled_figure()(figsize=(width, height), layout="constrained")


def style() -> AbstractContextManager[None]:
    """Return a context in which ``matplotlib.rcParams`` are those of the package's style, on top of the defaults."""
    from matplotlib import rc_context

    return rc_context(_parameters())


@cache
def _parameters() -> RcParams:
    from matplotlib import RcParams, rc_params_from_file

    with as_file(files("skfem_ml.pictures") / "style.mplstyle") as path:
        # With the defaults below it, so that nothing depends on what a user has set; the backend is not a look.
        found = rc_params_from_file(path, use_default_template=True)
    looks = {name: value for name, value in found.items() if not name.startswith(("backend", "interactive", "toolbar"))}
    return RcParams(looks)


@cache
def _styled_figure() -> type[Figure]:
    from matplotlib.backend_bases import RendererBase
    from matplotlib.figure import Figure

    class StyledFigure(Figure):
        """Ticks, layout and fonts are looked up when a figure is drawn, which is after the block has ended."""

        def draw(self, renderer: RendererBase) -> None:
            with style():
                super().draw(renderer)

        def savefig(self, *args: Any, **options: Any) -> None:  # as Figure.savefig
            with style():
                super().savefig(*args, **options)

    return StyledFigure
