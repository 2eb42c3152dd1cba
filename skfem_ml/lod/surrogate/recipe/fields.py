"""Where the coefficients of a training come from: `fields_of` folders, functions, families and arrays."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy import ndarray
from skfem import Mesh

from skfem_ml.coefficients import from_file, raster_to_cells, read_raster, validate
from skfem_ml.coefficients.families import NAMES, UNSEEN, WIDE, paper_field, wide_field
from skfem_ml.coefficients.raster import MESH_SUFFIXES, RASTER_SUFFIXES, holds_grey_levels
from skfem_ml.lod.method import LOD

LOG = logging.getLogger("skfem_ml")
FAMILIES = ("paper", "wide", *NAMES, *WIDE, *UNSEEN)
SUFFIXES = (*RASTER_SUFFIXES, *MESH_SUFFIXES)
PARTS = {"train": 0.64, "validation": 0.08, "doubt": 0.08, "calibration": 0.1, "test": 0.1}  # shares of the fields
LEAST = {"train": 4, "validation": 2, "doubt": 2, "test": 2}
CERTIFIED = 9  # fields of calibration, below which nothing can be promised at 90 %
MANY = 40  # fields from which so many are kept for it
FIRST = 10**6  # between the first numbers of two parts of a draw: no training takes so many
MEAN, NEAREST = "geometric", "nearest"  # how rasters and meshes are resampled where cells do not fit


@dataclass(frozen=True)
class Fields:
    """Fields of one family on the coefficient mesh of an LOD.

    Parameters
    ----------
    draw
        ``draw(i)``, field number i ``(nelems,)``, which depends on i alone.
    name
        What the family is called, on cards and in messages.
    count
        How many there are, numbers 0, ..., count - 1; None where there is no end of them.
    notes
        What was done to them (resampling), for the card.

    >>> from skfem import MeshQuad
    >>> from skfem_ml.lod import LOD
    >>> from skfem_ml.lod.surrogate import fields_of
    >>> fields = fields_of("discs", LOD(MeshQuad().refined(3), refine=8))
    >>> fields, fields.draw(3).shape, fields.count is None
    (Fields('discs', without end), (4096,), True)
    """

    draw: Callable[[int], ndarray] = field(repr=False)
    name: str
    count: int | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Fields({self.name!r}, {'without end' if self.count is None else self.count})"

    @property
    def facts(self) -> dict[str, object]:
        """What a card says of them."""
        return {"family": self.name, **({"notes": list(self.notes)} if self.notes else {})}

    def fingerprint(self) -> str:
        """Twelve hexadecimal digits of what they are: their number, the first field and the last (or second) one."""
        last = 1 if self.count is None else self.count - 1
        data = b"".join(np.ascontiguousarray(self.draw(index), dtype=float).tobytes() for index in (0, last))
        return hashlib.sha256(repr(self.count).encode() + data).hexdigest()[:12]

    def divided(self, total: int, seed: int = 0, sizes: Mapping[str, int] | None = None) -> dict[str, ndarray]:
        """The numbers of ``total`` fields by part (``PARTS``, with their shares): no two share one.

        Of draws, each part has numbers of its own range, else a shuffle by ``seed`` decides. From 40 fields on at least
        nine are for calibration, of fewer none. ``sizes`` are those of the parts, in place of shares, where there are
        as many. Raises ValueError for too few.
        """
        if sizes is not None and (self.count is None or sum(sizes.values()) <= self.count):
            return self._numbers(dict(sizes), sum(sizes.values()), seed)
        if total < sum(LEAST.values()):
            each = ", ".join(f"{count} for {name}" for name, count in LEAST.items())
            raise ValueError(
                f"fields: expected at least {sum(LEAST.values())} of {self.name} ({each}), got {total}; give more, or "
                "draw(i)"
            )
        if self.count is not None and total > self.count:
            raise ValueError(f"fields: expected at most the {self.count} of {self.name}, got {total}")
        held = {name: max(LEAST.get(name, CERTIFIED), round(share * total)) for name, share in PARTS.items()}
        held["calibration"] *= total >= MANY
        del held["train"]
        return self._numbers({"train": total - sum(held.values()), **held}, total, seed)

    def _numbers(self, sizes: dict[str, int], total: int, seed: int) -> dict[str, ndarray]:
        if self.count is None:
            starts = (k * FIRST for k in range(len(sizes)))
            return {name: start + np.arange(size) for start, (name, size) in zip(starts, sizes.items(), strict=True)}
        order = np.random.default_rng([seed, 17]).permutation(self.count)[:total]
        stops = np.cumsum(list(sizes.values()))
        return dict(zip(sizes, np.split(order, stops[:-1]), strict=True))


def fields_of(
    source: Fields | Callable[..., ndarray] | ndarray | str | Path,
    lod: LOD,
    *,
    seed: int = 0,
    low: float | None = None,
    high: float | None = None,
    scale: str = "linear",
) -> Fields:
    """Fields on ``lod.coefficient_mesh`` from whatever describes them.

    - a folder of files that `coefficients.from_file` reads, sorted by name; pictures need ``low`` and ``high``, the
      values of black and white (linear between, or ``scale="log"``). Where pixels are no cells, cells take the
      geometric mean over them, which is logged and noted;
    - ``draw(i)`` or ``draw(i, mesh)``, or its place, "module:function" or "file.py:function", which is run;
    - a family: "paper" (Kropfl, Maier, Peterseim 2022), "wide" (`families.wide_field`), or one of either by its name;
    - an array ``(k, nelems)``.

    A field is ``(nelems,)`` in the order of the mesh, or a raster ``(ny, nx)``, top row first, as in files. Raises
    ValueError for unknown names, empty folders, other shapes, values that are not positive and draws that differ when
    repeated, TypeError for anything else, and what `from_file` raises.
    """
    mesh = lod.coefficient_mesh
    if isinstance(source, Fields):
        return source
    if isinstance(source, ndarray):
        return _rows(source, mesh)
    if callable(source):
        return _drawn(source, getattr(source, "__name__", type(source).__name__), mesh)
    if not isinstance(source, (str, Path)):
        raise TypeError(f"fields: expected a folder, draw(i), a family's name or an array, got {type(source).__name__}")
    if Path(source).is_dir():
        return _folder(Path(source), mesh, low, high, scale)
    if str(source) in FAMILIES:
        return _family(str(source), mesh, seed)
    if ":" in str(source):
        return _drawn(_function(str(source)), str(source), mesh)
    known = f"a folder, module:function, file.py:function or one of {', '.join(FAMILIES)}"
    raise ValueError(f"fields: expected {known}, got {str(source)!r}")


def _rows(values: ndarray, mesh: Mesh) -> Fields:
    if values.ndim not in (2, 3) or not len(values):
        raise ValueError(
            f"fields: expected an array (k, {mesh.t.shape[1]}), or rasters (k, ny, nx), got shape {values.shape}"
        )
    kept = np.array([_on_cells(a, mesh, f"fields[{k}]") for k, a in enumerate(values)])
    return Fields(lambda index: kept[index], f"an array of {len(kept)}", len(kept))


def _drawn(draw: Callable[..., ndarray], name: str, mesh: Mesh) -> Fields:
    takes_mesh = _required(draw) == 2

    def checked(index: int) -> ndarray:
        values = draw(index, mesh) if takes_mesh else draw(index)
        return _on_cells(values, mesh, f"{name}({index})")

    if not np.array_equal(checked(0), checked(0)):
        raise ValueError(f"fields: expected {name}(0) to be the same field each time, got two; let i seed a generator")
    return Fields(checked, name)


def _required(draw: Callable[..., ndarray]) -> int:
    """How many arguments without a default a function has."""
    try:
        parameters = inspect.signature(draw).parameters.values()
    except (TypeError, ValueError):  # built-in functions tell nothing
        return 1
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is inspect.Parameter.empty for p in parameters)


def _on_cells(values: ndarray, mesh: Mesh, name: str) -> ndarray:
    """One field on the cells of a mesh, checked."""
    values = np.asarray(values)
    if values.ndim == 2:
        values = raster_to_cells(values[::-1], mesh)
    return validate(values, mesh.t.shape[1], name=name)


def _family(name: str, mesh: Mesh, seed: int) -> Fields:
    names = {"paper": NAMES, "wide": WIDE}.get(name, (name,))
    draw = paper_field if names[0] in NAMES else wide_field
    return Fields(lambda index: draw(mesh, names[index % len(names)], index // len(names), seed), name)


def _function(place: str) -> Callable[..., ndarray]:
    """The function at "module:function" or "file.py:function"."""
    module, _, name = place.rpartition(":")
    if module.endswith(".py"):
        if not Path(module).is_file():
            raise FileNotFoundError(f"{module}: expected a file with the function {name}, found none")
        spec = importlib.util.spec_from_file_location(Path(module).stem, module)
        assert spec is not None and spec.loader is not None
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
    else:
        try:
            found = importlib.import_module(module)
        except ImportError as error:
            raise ValueError(f"fields: expected module:function, got {place!r} ({error})") from error
    function = getattr(found, name, None)
    if not callable(function):
        raise ValueError(f"fields: expected a function {name!r} in {module}, got {type(function).__name__}")
    return function


def _folder(folder: Path, mesh: Mesh, low: float | None, high: float | None, scale: str) -> Fields:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise ValueError(f"{folder}: expected files {', '.join(SUFFIXES)}, got none")
    read = [_file(path, mesh, low, high, scale) for path in files]
    kept, again = np.array([a for a, _ in read]), sum(resampled for _, resampled in read)
    notes: tuple[str, ...] = ()
    if again:
        notes = (f"{again} of {len(files)} files resampled: {MEAN} means over cells, mesh files by midpoints",)
        LOG.info("%s: %s", folder, notes[0])
    return Fields(lambda index: kept[index], folder.name or str(folder), len(files), notes)


def _file(path: Path, mesh: Mesh, low: float | None, high: float | None, scale: str) -> tuple[ndarray, bool]:
    """The field of a file, and whether it had to be resampled."""
    if path.suffix.lower() in MESH_SUFFIXES:
        try:
            return from_file(path, mesh), False
        except ValueError:  # cells that reach over several of the source, or a file that is broken for both
            return from_file(path, mesh, resample=NEAREST), True
    grey = holds_grey_levels(path)
    values = read_raster(path, low=low, high=high, scale=scale) if grey else read_raster(path)
    try:
        return raster_to_cells(values, mesh), False
    except ValueError:
        return raster_to_cells(values, mesh, MEAN), True
