"""Options that several commands share, declared once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from skfem_ml.cli.errors import remember_debug


def _option(kind: Any, name: str, text: str, **more: Any) -> Any:
    return Annotated[kind, typer.Option(name, help=text, **more)]


Field = Annotated[
    Path | None,
    typer.Argument(
        help="Coefficient: .png, .jpg, .npy, .csv, or a mesh file with cell data (.vtu, .vtk, .xdmf, .msh). "
        "Default: a field in the package."
    ),
]
Coarse = _option(int | None, "--coarse", "Coarse cells along x; the fine cells must divide evenly.")
Refine = _option(
    int | None,
    "--refine",
    "Fine cells along a coarse edge. Default: the largest common divisor of the "
    "field's sides up to 8 that leaves 4 coarse cells along the shorter one.",
)
Extent = _option(
    str | None, "--extent", "Size of the domain of a raster, such as 2500x50. Default: square pixels, longer side 1."
)
Load = _option(float, "--load", "The constant right-hand side f.")
Dirichlet = _option(
    str | None,
    "--dirichlet",
    "Sides where u = 0, such as left,right; natural condition elsewhere. Default: the whole boundary.",
)
Low = _option(float | None, "--low", "Value of black in an image.")
High = _option(float | None, "--high", "Value of white in an image.")
Scale = _option(str, "--scale", "Between black and white: linear or log.")
Origin = _option(str, "--origin", "The first row of a raster is the top (upper) or the bottom (lower).")
Name = _option(str | None, "--name", "Which cell data of a mesh file, if there are several.")
Seed = _option(int | None, "--seed", "Without FIELD: draw another field of the same family, with this seed.")
Engine = _option(str, "--engine", "Engine of LOD: auto, condensation or reference.")
Corrected = _option(bool, "--corrected", "Resolve the load's fine scales too (corrected right-hand side).")
Output = _option(Path, "--output", "Folder for the files; made if missing, files of the same name are replaced.")
Quiet = _option(bool, "--quiet", "Print nothing but errors.")
Json = _option(bool, "--json", "Print the result as JSON and nothing else.")
Debug = _option(bool, "--debug", "Show tracebacks.", callback=remember_debug)
Ell = _option(int | None, "--ell", "Localisation parameter of LOD. Default: 2, or that of the model.")
Tol = _option(float, "--tol", "Hybrid: elements whose score is above this are recomputed exactly; 0 recomputes all.")

# What a command that reads a field takes, with defaults; the names are those of `cases.FieldOptions`.
FIELD: dict[str, tuple[Any, Any]] = {
    "field": (Field, None),
    "coarse": (Coarse, None),
    "refine": (Refine, None),
    "extent": (Extent, None),
    "load": (Load, 1.0),
    "dirichlet": (Dirichlet, None),
    "low": (Low, None),
    "high": (High, None),
    "scale": (Scale, "linear"),
    "origin": (Origin, "upper"),
    "name": (Name, None),
    "seed": (Seed, None),
}


def reads_field(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the parameters of a field, and hand them to it as one: its first argument is ``read``.

    ``read(refine=None)`` returns the `cases.Case`; the refinement of a model stands where the user gives none.
    """

    @wraps(command)
    def run(**given: Any) -> None:
        named = {name: given.pop(name) for name in FIELD}
        path = named.pop("field")

        def read(refine: int | None = None) -> Any:
            from skfem_ml.cli.cases import FieldOptions, read_case

            return read_case(path, FieldOptions(**named, model_refine=refine))

        command(read, **given)

    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    keyword = inspect.Parameter.KEYWORD_ONLY
    shared = [inspect.Parameter(name, keyword, default=d, annotation=a) for name, (a, d) in FIELD.items()]
    parameters = [*shared, *(parameter.replace(kind=keyword) for parameter in own)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
