"""``skfem-ml view RESULT.vtu``: a page with all fields to switch between."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skfem_ml.cli import options as opt
from skfem_ml.cli.screen import Screen


def view(
    result: Annotated[Path, typer.Argument(help="Mesh with fields: .vtu of solve or compare, .vtk, .xdmf, .msh.")],
    html: Annotated[Path | None, typer.Option("--html", help="The page. Default: RESULT.html beside the file.")] = None,
    json: opt.Json = False,
    debug: opt.Debug = False,
) -> None:
    """Write a page for a browser that shows the fields of a file, two at a time: one file, no server, no network.

    Coefficient, solutions, errors and scores are chosen by name, on one scale for each kind; the values under the
    pointer are shown. For meshes of triangles and quadrilaterals in the plane; bodies are for PyVista or ParaView.
    """
    from skfem_ml.cli.outputs import Outputs
    from skfem_ml.cli.view.page import page
    from skfem_ml.cli.view.scene import read_scene

    target = result.with_suffix(".html") if html is None else html
    if target.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"html: expected a name that ends in .html, got {target}")
    scene = read_scene(result)
    path = Outputs(target.parent, [target.name]).write_text(target.name, page(scene))
    size = path.stat().st_size
    text = f"{scene.cells} cells, fields: {', '.join(f.name for f in scene.fields)}\nopen in a browser: {path}"
    told = {"cells": scene.cells, "fields": [f.name for f in scene.fields], "bytes": size, "files": {"html": str(path)}}
    Screen(json=json).tell(f"{text} ({size / 2**20:.1f} MiB)", told)
