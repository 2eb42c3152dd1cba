"""Options that several commands share, declared once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from skfem_ml.cli.errors import remember_debug
from skfem_ml.cli.screen import Screen

if TYPE_CHECKING:
    from skfem_ml.cli.cases import Case

Field = Annotated[
    Path | None,
    typer.Argument(
        help="Coefficient: .png, .jpg, .npy, .csv, or a mesh file with cell data (.vtu, .vtk, .xdmf, .msh). "
        "Default: a field in the package."
    ),
]
Coarse = Annotated[
    int | None, typer.Option("--coarse", help="Coarse cells along x; the fine cells must divide evenly.")
]
Refine = Annotated[
    int | None,
    typer.Option(
        "--refine",
        help="Fine cells along a coarse edge. Default: the largest common divisor of the field's sides up to 8 that "
        "leaves 4 coarse cells along the shorter one.",
    ),
]
Extent = Annotated[
    str | None,
    typer.Option(
        "--extent", help="Size of the domain of a raster, such as 2500x50. Default: square pixels, longer side 1."
    ),
]
Load = Annotated[float, typer.Option("--load", help="The constant right-hand side f.")]
Dirichlet = Annotated[
    str | None,
    typer.Option(
        "--dirichlet",
        help="Sides where u = 0, such as left,right; natural condition elsewhere. Default: the whole boundary.",
    ),
]
Low = Annotated[float | None, typer.Option("--low", help="Value of black in an image.")]
High = Annotated[float | None, typer.Option("--high", help="Value of white in an image.")]
Scale = Annotated[str, typer.Option("--scale", help="Between black and white: linear or log.")]
Origin = Annotated[
    str, typer.Option("--origin", help="The first row of a raster is the top (upper) or the bottom (lower).")
]
Name = Annotated[str | None, typer.Option("--name", help="Which cell data of a mesh file, if there are several.")]
Tags = Annotated[
    str | None,
    typer.Option(
        "--tags", help="Values of Gmsh's physical groups, such as rock=1,ore=50; with --name, of its whole numbers."
    ),
]
FieldSeed = Annotated[
    int | None,
    typer.Option("--seed", min=0, help="Without FIELD: draw another field of the same family, with this seed."),
]
Engine = Annotated[str, typer.Option("--engine", help="Engine of LOD: auto, condensation or reference.")]
Corrected = Annotated[
    bool, typer.Option("--corrected", help="Resolve the load's fine scales too (corrected right-hand side).")
]
Workers = Annotated[
    int,
    typer.Option("--workers", min=1, help="LOD: how many processes make the matrix, or threads without dask."),
]
Ell = Annotated[
    int | None, typer.Option("--ell", help="Localisation parameter of LOD. Default: 2, or that of the surrogate.")
]
Tol = Annotated[
    float,
    typer.Option("--tol", help="Hybrid: the relative L2 error of u_h that is promised; 0 recomputes all elements."),
]
Below = Annotated[
    int | None,
    typer.Option(
        "--below", min=1, help="Fine cells along every cell of the field. Default: 1, or what the surrogate has."
    ),
]
Loads = Annotated[int, typer.Option("--loads", min=1, help="Reckon the costs for so many loads.")]
Fields = Annotated[int, typer.Option("--fields", min=1, help="Reckon the costs for so many such fields.")]
Within = Annotated[float, typer.Option("--within", help="Energy error that the last sentence asks of a fine answer.")]
Surrogates = Annotated[
    list[str] | None,
    typer.Option(
        "--surrogate",
        help="Add rows of a surrogate: name of a shipped one (skfem-ml models) or its file; may be repeated. "
        "Default: the shipped one that fits mesh and field best.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything that is drawn.")]
Output = Annotated[
    Path,
    typer.Option("--output", help="Folder for the files; made if missing, files of the same name are replaced."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but warnings and errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.", callback=remember_debug)]
OUTPUT = Path("skfem_ml_output")
ENGINES = ("auto", "condensation", "reference")


class Read(Protocol):
    """``read(refine=None)``: the case that the options of a field describe, refined as a model wants it if they do not
    say.
    """

    def __call__(self, refine: int | None = None) -> Case: ...


def _reading(given: Mapping[str, Any]) -> Read:
    options = dict(given)
    path = options.pop("field")

    def read(refine: int | None = None) -> Case:
        from skfem_ml.cli.cases import FieldOptions, read_case

        return read_case(path, FieldOptions(**options, model_refine=refine))

    return read


def _shown(given: Mapping[str, bool]) -> Screen:
    return Screen(given["quiet"], given["json"])


# Arguments of commands that stand for several options: what they are made by, and (type, default) of each option.
GROUPS: dict[str, tuple[Callable[..., object], dict[str, tuple[object, object]]]] = {
    "read": (
        _reading,  # the names are those of `cases.FieldOptions`
        {
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
            "tags": (Tags, None),
            "seed": (FieldSeed, None),
        },
    ),
    "screen": (_shown, {"quiet": (Quiet, False), "json": (Json, False), "debug": (Debug, False)}),
}


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that its arguments ``read`` (a `Read`) and ``screen`` (a `Screen`) stand for."""
    own = inspect.signature(command, eval_str=True).parameters

    @wraps(command)
    def run(**given: object) -> None:
        for argument, (build, options) in GROUPS.items():
            if argument in own:
                given[argument] = build({name: given.pop(name) for name in options})
        screen = given.get("screen")
        if not isinstance(screen, Screen):
            return command(**given)
        screen.warned.options = {name: f"--{name}" for name in run.__annotations__}
        with screen.warned.collecting():
            command(**given)

    keyword = inspect.Parameter.KEYWORD_ONLY
    shared = {
        argument: [inspect.Parameter(name, keyword, default=d, annotation=a) for name, (a, d) in options.items()]
        for argument, (_, options) in GROUPS.items()
        if argument in own
    }
    mine = [parameter.replace(kind=keyword) for argument, parameter in own.items() if argument not in GROUPS]
    parameters = [*shared.get("read", []), *mine, *shared.get("screen", [])]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
