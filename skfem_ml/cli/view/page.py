"""One file for a browser: the scene as data, and the program that draws it."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from skfem_ml.cli.view.packed import packed, quantised
from skfem_ml.cli.view.scene import Field, Scene

LEVELS = (2**16 - 1, 2**12 - 1)  # of the values of a field: fine, and coarse where the page is large otherwise
LARGE = 2_000_000  # bytes
MAPS = {"sequential": "viridis", "diverging": "RdBu_r"}  # told apart by all eyes


def page(scene: Scene) -> str:
    """The page of a scene; values have 16 bits of the range of their field, 12 where it is larger than 2 MB then."""
    for levels in LEVELS:
        text = _assembled(scene, levels)
        if len(text) <= LARGE:
            break
    return text


def _assembled(scene: Scene, levels: int) -> str:
    content = {
        "title": scene.title,
        "cells": scene.cells,
        "levels": levels,
        "mesh": _mesh(scene),
        "fields": [_field(field, levels) for field in scene.fields],
        "maps": {name: _colours(name_of_map) for name, name_of_map in MAPS.items()},
    }
    # No text of a file can end the element that holds it: JSON needs no "<" of its own.
    data = json.dumps(content, allow_nan=False).replace("<", "\\u003c")
    folder = resources.files("skfem_ml.cli.view")
    style, script, frame = ((folder / f"view.{suffix}").read_text(encoding="utf-8") for suffix in ("css", "js", "html"))
    allowed = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}"
    parts = {"policy": allowed, "title": html.escape(scene.title), "style": style, "data": data, "script": script}
    before, *rest = frame.split("{{")
    return before + "".join(parts[name] + after for name, after in (piece.split("}}", 1) for piece in rest))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _mesh(scene: Scene) -> dict[str, object]:
    if scene.grid is not None:
        return {"lines": [[float(f"{x:.9g}") for x in line] for line in scene.grid]}
    low, size = scene.points.min(axis=1), np.ptp(scene.points, axis=1).max()
    places = np.rint((scene.points - low[:, None]) / size * (2**32 - 1))
    blocks = [packed(block, 4) for block in scene.corners]
    return {"low": low.tolist(), "size": float(size), "points": packed(places, 4), "blocks": blocks}


def _field(field: Field, levels: int) -> dict[str, object]:
    numbers, scale = quantised(field.values, levels)
    return {"name": field.name, "where": field.where, **scale, "kind": _kind(field.name), **packed(numbers, 2)}


def _kind(name: str) -> str:
    """What fields with one scale have in common: the word before the first underscore. Errors differ by decades."""
    kind = name.partition("_")[0]
    return name if kind == "error" else kind


def _colours(name: str) -> str:
    from matplotlib import colormaps

    table: NDArray[np.uint8] = colormaps[name](np.arange(256), bytes=True)[:, :3]
    return base64.b64encode(table.tobytes()).decode("ascii")
