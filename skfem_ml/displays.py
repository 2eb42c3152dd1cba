"""What objects show of themselves in a notebook: HTML and SVG in which every text is escaped."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from io import BytesIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
PIXELS = 160  # along the longer side of a picture
WIDTH, HEIGHT = 360, 120  # of a curve
DECADES = 20.0  # positive curves that span this factor have a logarithmic axis
LONGEST = 5.0  # sides of a picture: longer domains are stretched


def table(title: str, rows: Mapping[str, object]) -> str:
    """A table of two columns under a title.

    >>> table("LOD", {"fine < coarse": 8})
    '<table><caption>LOD</caption><tr><th>fine &lt; coarse</th><td>8</td></tr></table>'
    """
    body = "".join(f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in rows.items())
    return f"<table><caption>{escape(title)}</caption>{body}</table>"


def curve(title: str, x: ArrayLike, y: ArrayLike) -> str:
    """The points (x, y) joined by lines, ``(n,)`` each, with the ends of both axes in numbers; logarithmic where y > 0
    spans a factor of 20. Points that are not finite are left out.
    """
    points = np.array([x, y], dtype=float)
    right, height = points[:, np.isfinite(points).all(axis=0)]
    if not len(right):
        return f"<p>{escape(title)}</p>"
    log = height.min() > 0 and height.max() >= DECADES * height.min()
    across, up = _placed(right), _placed(np.log(height) if log else height)
    way = " ".join(f"{WIDTH * a:.1f},{HEIGHT * (1 - b):.1f}" for a, b in zip(across, up, strict=True))
    line = "fill='none' stroke='currentColor' stroke-width='1.5'"
    drawn = f"<polyline points='{way}' {line}/><path d='M0 0V{HEIGHT}H{WIDTH}' {line} opacity='0.4'/>"
    ends = f"{height.min():.3g} to {height.max():.3g}{', logarithmic' if log else ''}, "
    ends += f"over {right.min():.4g} to {right.max():.4g}"
    box = f"width='{WIDTH}' height='{HEIGHT}' viewBox='-4 -4 {WIDTH + 8} {HEIGHT + 8}'"
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' role='img' aria-label='{escape(title)}' {box}>{drawn}</svg>"
    return f"<figure><figcaption>{escape(title)}</figcaption>{svg}<figcaption>{ends}</figcaption></figure>"


def picture(title: str, values: ArrayLike) -> str:
    """A table of values as an image, rows from the lowest y up; what is not finite is transparent."""
    values = np.asarray(values, dtype=float)
    there = values[np.isfinite(values)]
    if not there.size:
        return f"<p>{escape(title)}</p>"
    from matplotlib.image import imsave

    file = BytesIO()
    imsave(file, np.ma.masked_invalid(values), cmap="viridis", origin="lower", format="png")
    image = f"<img alt='{escape(title)}' src='data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}'>"
    ends = f"{there.min():.4g} (dark) to {there.max():.4g} (bright)"
    return f"<figure><figcaption>{escape(title)}</figcaption>{image}<figcaption>{ends}</figcaption></figure>"


def places(low: ArrayLike, high: ArrayLike) -> Array:
    """Where a function on the box from ``low`` to ``high``, ``(2,)`` each, is asked for its picture: ``(2, rows,
    columns)``.
    """
    low, high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    sides = np.maximum(high - low, (high - low).max() / LONGEST)
    columns, rows = np.ceil(PIXELS * sides / sides.max()).astype(int)
    x, y = (a + (b - a) * (np.arange(n) + 0.5) / n for a, b, n in zip(low, high, (columns, rows), strict=True))
    return np.stack(np.meshgrid(x, y))


def _placed(values: Array) -> Array:
    span = np.ptp(values)
    return (values - values.min()) / span if span > 0 else np.full(len(values), 0.5)
