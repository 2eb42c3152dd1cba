"""From a field in a file to a diffusion problem and a coarse mesh: where ``compare diffusion`` and ``solve`` start."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skfem import Basis, Mesh, MeshQuad

from skfem_ml.coefficients import Limits, from_file, iid_multilevel, inclusions, read_raster
from skfem_ml.coefficients.cell_data import mesh_of
from skfem_ml.coefficients.raster import IMAGE_SUFFIXES, MESH_SUFFIXES, RASTER_SUFFIXES, holds_grey_levels, require_file
from skfem_ml.meshes.cells import bounding_box
from skfem_ml.meshes.pixels import box_lattice, coarsened, default_refinement, named_sides, pixel_mesh, refinements
from skfem_ml.problems import Diffusion

SHIPPED = "inclusions.npy"


@dataclass(frozen=True)
class FieldOptions:
    """What the command line says about a field; None where it says nothing."""

    coarse: int | None = None
    refine: int | None = None
    extent: str | None = None
    load: float = 1.0
    dirichlet: str | None = None
    low: float | None = None
    high: float | None = None
    scale: str = "linear"
    origin: str = "upper"
    name: str | None = None
    tags: str | None = None
    seed: int | None = None
    model_refine: int | None = None  # what a model wants where neither coarse nor refine is said


@dataclass(frozen=True, eq=False)
class Case:
    """A problem on its fine mesh, the coarse mesh, and words about them.

    ``refine`` are cells of the field along a coarse edge, ``below`` fine cells along one of those: 1 where the problem
    is on the field's own mesh, as read; `finer` makes others. ``given`` is the problem as read.
    """

    problem: Diffusion
    coarse: Mesh
    refine: int
    title: str = ""
    notes: list[str] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)
    below: int = 1
    read: Diffusion | None = None

    @property
    def given(self) -> Diffusion:
        """The problem on the mesh of the field."""
        return self.problem if self.read is None else self.read


def finer(case: Case, below: int, why: str) -> Case:
    """The case with ``below`` fine cells along every cell of the field, on which the coefficient stays constant."""
    from skfem_ml.lod import LOD

    space = LOD(case.coarse, fine=case.problem.mesh, ell=1).with_fine(below * case.refine).space
    problem = replace(case.problem, mesh=space.fine_mesh, a=case.problem.a[..., space.coefficient_cell])
    note = f"fine mesh: {_size(problem.mesh)}, {below} x {below} cells in every cell of the field ({why}; --below)"
    facts = {**case.facts, "below": below, "fine cells": problem.mesh.t.shape[1]}
    return replace(case, problem=problem, notes=[*case.notes, note], facts=facts, below=below, read=case.problem)


def read_case(path: Path | None, options: FieldOptions) -> Case:
    """Read a field (None: the shipped one, or one drawn with ``options.seed``) and build meshes and problem.

    Raises ValueError, TypeError and OSError with the library's messages for anything that does not fit.
    """
    if path is not None and options.seed is not None:
        raise ValueError("seed: a field from a file is not drawn; leave out --seed or FIELD")
    if path is not None:
        _require_field(path)
    if path is not None and path.suffix.lower() in MESH_SUFFIXES:
        label, mesh, a = str(path), *_mesh_file(path, options)
        origin = "fine mesh: the file's own, values unchanged"
    else:
        label, mesh, a = _raster(path, options)
        origin = "fine mesh: one cell per pixel, values unchanged"
    refine, chosen = _refinement(mesh, options)
    coarse = coarsened(mesh, refine)
    problem = Diffusion(mesh, a, f=options.load, dirichlet=_sides(mesh, options.dirichlet))
    _require_free_node(problem, coarse, refine)
    return _described(Case(problem, coarse, refine), label, origin, chosen, options)


def _require_field(path: Path) -> None:
    """Raise OSError for what is no file, ValueError for one that no field is read from."""
    require_file(path)
    known = RASTER_SUFFIXES + MESH_SUFFIXES
    if path.suffix.lower() not in known:
        raise ValueError(f"{path}: expected a field as {', '.join(known)}, got {path.suffix or 'no suffix'}")


def _sides(mesh: Mesh, text: str | None) -> list[str] | None:
    if text is None:
        return None
    sides, known = [side.strip() for side in text.split(",")], sorted(mesh.boundaries or ())
    if not set(sides) <= set(known):
        raise ValueError(
            f"dirichlet: expected sides joined by commas, of {', '.join(known)}, got {text!r}; leave it out for u = 0 "
            "on the whole boundary"
        )
    return sides


def shipped_field() -> Path:
    """Return the path of the field in the package."""
    return Path(str(resources.files("skfem_ml") / "fields" / SHIPPED))


def drawn_field(seed: int, pixels: int = 128) -> NDArray[np.float32]:
    """Return the family of the shipped field, ``(pixels, pixels)``, first row on top: 100 discs of value 100 on noise.

    The background is iid multilevel noise in [1, 2]; the discs' radius is 0.03 of the side, and they may overlap.
    """
    line = np.linspace(0, 1, pixels + 1)
    mesh = MeshQuad.init_tensor(line, line)
    rng = np.random.default_rng(seed)
    discs = inclusions(mesh, contrast=100.0, number=100, radius=0.03, rng=rng)
    a = np.where(discs > 1, discs, iid_multilevel(mesh, range(3, 8), 1.0, 2.0, rng))
    grid = box_lattice(mesh)
    table = np.empty(grid.shape[::-1], dtype=np.float32)
    table[grid.index[1], grid.index[0]] = a
    return table[::-1]


def _raster(path: Path | None, options: FieldOptions) -> tuple[str, Mesh, NDArray]:
    for option, purpose in (("name", "chooses cell data"), ("tags", "maps physical groups")):
        if getattr(options, option) is not None:
            raise ValueError(f"{option}: {purpose} of a mesh file; a raster has one field, so leave out --{option}")
    low, high = options.low, options.high
    if path is None and options.seed is not None:
        _refuse_image_options(options)
        label = f"discs on noise, drawn with seed {options.seed}"
        values = drawn_field(options.seed)[::-1].astype(float)
    else:
        source = shipped_field() if path is None else path
        if source.suffix.lower() in IMAGE_SUFFIXES:
            require_file(source)
        if (low is None or high is None) and holds_grey_levels(source):
            raise ValueError(f"{source}: an image holds grey levels; give --low and --high, values of black and white")
        label = f"{SHIPPED} (shipped with the package)" if path is None else str(path)
        values = read_raster(source, options.origin, low, high, options.scale)
    extent = None if options.extent is None else _extent(options.extent)
    mesh, a = pixel_mesh(values, extent)
    return label, mesh, a


def _refuse_image_options(options: FieldOptions) -> None:
    if (options.low, options.high, options.scale) != (None, None, "linear"):
        raise ValueError("low, high and scale are for images; a drawn field holds the values themselves")


def _mesh_file(path: Path, options: FieldOptions) -> tuple[Mesh, NDArray]:
    if options.extent is not None:
        raise ValueError("extent: a mesh file has its own coordinates; leave out --extent")
    mesh = mesh_of(path, Limits())
    box_lattice(mesh)
    a = from_file(
        path,
        mesh,
        origin=options.origin,
        name=options.name,
        tags=_tags(options.tags),
        low=options.low,
        high=options.high,
        scale=options.scale,
    )
    return named_sides(mesh), a


def _tags(text: str | None) -> dict[int | str, float] | None:
    """The values of groups, from ``rock=1,2=50``."""
    if text is None:
        return None
    pairs = [[word.strip() for word in pair.rpartition("=")[::2]] for pair in text.split(",")]
    try:
        return {int(group) if group.isdigit() else group: float(value) for group, value in pairs}
    except ValueError:
        raise ValueError(f"tags: expected GROUP=VALUE joined by commas, such as rock=1,ore=50, got {text!r}") from None


def _refinement(mesh: Mesh, options: FieldOptions) -> tuple[int, str]:
    shape = box_lattice(mesh).shape
    if options.coarse is not None and options.refine is not None:
        raise ValueError("coarse, refine: expected one of them, got both; they say the same")
    if options.refine is not None:
        return options.refine, "--refine"
    if options.coarse is None and options.model_refine is not None:
        return options.model_refine, "the model's"
    if options.coarse is None:
        return default_refinement(shape), "default; --refine or --coarse to change"
    fits = [shape[0] // n for n in reversed(refinements(shape))]
    if options.coarse not in fits:
        size = " x ".join(map(str, shape))
        wanted = f"one of {', '.join(map(str, fits))}" if fits else "a field whose sides have a common divisor"
        raise ValueError(
            f"coarse: {size} fine cells do not split into {options.coarse} coarse cells along x; expected " + wanted
        )
    return shape[0] // options.coarse, "--coarse"


def _require_free_node(problem: Diffusion, coarse: Mesh, refine: int) -> None:
    """Raise ValueError where all coarse nodes have boundary values: u_h = 0 would look like a solution."""
    basis = Basis(coarse, coarse.elem())
    if len(problem.dirichlet_dofs(basis)) < basis.N:
        return
    shape = box_lattice(problem.mesh).shape
    smaller = [str(n) for n in refinements(shape) if n < refine and n <= min(shape) // 2]
    remedy = (
        f"a smaller one: {', '.join(smaller)}" if smaller else "a field of more cells, or fewer sides of --dirichlet"
    )
    raise ValueError(
        f"refine: expected coarse cells with a node off the Dirichlet part, got {_size(coarse)} coarse cells of "
        f"{refine} fine ones along an edge, all of whose nodes are on it, so that u_h = 0; take {remedy}"
    )


def _extent(text: str) -> list[float]:
    try:
        return [float(part) for part in text.lower().split("x")]
    except ValueError:
        raise ValueError(f"extent: expected lengths joined by x, such as 2500x50, got {text!r}") from None


def _described(case: Case, label: str, origin: str, chosen: str, options: FieldOptions) -> Case:
    problem, mesh = case.problem, case.problem.mesh
    shapes = [_size(mesh), _size(case.coarse)]
    low, high = bounding_box(mesh)
    size = " x ".join(f"{length:g}" for length in high - low)
    smallest, largest = float(problem.a.min()), float(problem.a.max())
    where = f"on {', '.join(problem.dirichlet)}, natural elsewhere" if problem.dirichlet else "on the whole boundary"
    default = "" if options.extent or path_is_mesh(label) else " (square pixels, longer side 1; --extent to change)"
    notes = [
        f"field: {label}, values {smallest:.4g} to {largest:.4g}, contrast {largest / smallest:.4g}",
        f"problem: -div(a grad u) = {options.load:g} on {size}{default}, u = 0 {where}",
        f"{origin}; {shapes[0]} fine, {shapes[1]} coarse, {case.refine} fine cells along a coarse edge ({chosen})",
    ]
    facts = {
        "field": label,
        "fine cells": mesh.t.shape[1],
        "coarse cells": case.coarse.t.shape[1],
        "fine grid": shapes[0],
        "coarse grid": shapes[1],
        "refine": case.refine,
        "extent": (high - low).tolist(),
        "load": options.load,
        "dirichlet": list(problem.dirichlet) if problem.dirichlet else "whole boundary",
        "coefficient": {"min": smallest, "max": largest, "contrast": largest / smallest},
    }
    title = f"{label if options.seed is not None else Path(label).name}: contrast {largest / smallest:.3g}"
    return Case(problem, case.coarse, case.refine, title, notes, facts)


def _size(mesh: Mesh) -> str:
    grid, cells = box_lattice(mesh), mesh.t.shape[1]
    full = cells == np.prod(grid.shape)
    return " x ".join(map(str, grid.shape)) + ("" if full else f" with {cells} cells")


def path_is_mesh(label: str) -> bool:
    """Whether a field's name is that of a mesh file."""
    return label.lower().endswith(MESH_SUFFIXES)
