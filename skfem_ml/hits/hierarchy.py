"""Hierarchies of networks: training, selection of scales, files, and the hybrid with a classical stepper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skfem_ml.hits.box import Box
from skfem_ml.hits.files import Card, load_maps, save_maps
from skfem_ml.hits.fitting import fit_map
from skfem_ml.hits.flow_map import FlowMap
from skfem_ml.learning.storage import fitting
from skfem_ml.learning.training import History
from skfem_ml.problems.sequences import check_frames
from skfem_ml.progress import Progress
from skfem_ml.stepping.hierarchy import Hierarchy, describe, select_scales
from skfem_ml.stepping.stepper import Stepper

Array = NDArray[np.float64]


class HiTS(Hierarchy):
    """Flow maps of nested steps ``dt_1 > dt_2 > ...``, each a multiple of the next, coupled in time.

    ``maps`` are networks (`FlowMap`), or any steppers of rows ``(rows, n)``: exact flow maps, Runge-Kutta methods. A
    selection (`select`, or the one on the card of a file) couples some of ``all_maps``: ``maps`` are those that it
    solves with. ``box`` is where the states of training lay; `solve` warns outside of it. ``histories`` are those of
    the training by dt, ``scores`` what the selection tried. Raises as `Hierarchy`.

    >>> from skfem_ml.hits import HiTS
    >>> hits = HiTS.load("van-der-pol")
    >>> hits, len(hits.all_maps), hits.solve((0, 2.56), [1.0, 1.0]).y.round(2)[:, -1]
    (HiTS(3 of 5 maps, dt 0.32 to 0.08, van-der-pol), 5, array([-1.32, -3.37]))

    Source: Liu, Kutz and Brunton, Hierarchical deep learning of multiscale differential equation time-steppers (2022).
    """

    def __init__(self, maps: Sequence[Stepper]):
        super().__init__(maps)
        self.all_maps: list[Stepper] = self.maps
        self.box: Box | None = None
        self.card: Card = {}
        self.scores: dict[tuple[float, float], float] = {}
        self.histories: dict[float, History] = {}

    def __repr__(self) -> str:
        told = describe(self.maps)
        if len(self.all_maps) > len(self.maps):
            told = f"{len(self.maps)} of {len(self.all_maps)}{told.removeprefix(str(len(self.maps)))}"
        system = self.card.get("system", self.card.get("sequence"))
        return f"HiTS({told}{'' if system is None else f', {system}'})"

    def fit(
        self,
        t: ArrayLike,
        y: ArrayLike,
        *,
        steps: int = 5000,
        validation: tuple[ArrayLike, ArrayLike] | None = None,
        seed: int = 0,
        folder: str | Path | None = None,
        train: Callable[..., History] = fit_map,
        progress: Progress | None = None,
        **options: object,
    ) -> HiTS:
        """Train all maps on trajectories, the largest step first, and return self; histories are in ``.histories``.

        ``y`` is ``(trajectories, n, k)`` at times ``t`` ``(k,)``; ``train`` trains one map (`fitting.fit_map`, whose
        ``options`` these are); the j-th map, the smallest step being number 0, takes ``seed + j``. With a ``folder``
        (made if missing) each map has a checkpoint there, and a run that was stopped goes on. Raises TypeError where a
        map is no `FlowMap`, and what ``train`` raises.
        """
        maps = _networks(self.all_maps)
        if folder is not None:
            Path(folder).mkdir(parents=True, exist_ok=True)
        for done, flow_map in enumerate(maps):
            self.histories[flow_map.dt] = train(
                flow_map, t, y, steps=steps, validation=validation, seed=seed + len(maps) - 1 - done,
                checkpoint=None if folder is None else Path(folder) / f"dt-{flow_map.dt:g}.pt",
                progress=_part(progress, done, len(maps), flow_map.dt), **options,
            )  # fmt: skip
        self.box = Box.of(t, y)
        return self

    def select(self, t: ArrayLike, y: ArrayLike, interpolation: str = "cubic") -> HiTS:
        """Return the hierarchy of the contiguous range of all maps with the least error on validation trajectories.

        ``y`` ``(trajectories, n, k)`` at times ``t`` ``(k,)``, the first of them the start. As published: the upper end
        u minimises the mean squared error of ``F_1, ..., F_k`` (F_1 the smallest step) over k, then the lower end that
        of ``F_k, ..., F_u``. The errors tried are kept in ``.scores``, by smallest and largest dt of the range.
        """
        t, y = np.asarray(t, dtype=float), np.asarray(y, dtype=float)
        maps, scores = select_scales(self.all_maps, t, y, interpolation)
        return self._coupling(maps, scores)

    def watch(self, states: Array) -> bool:
        """Warn where states ``(..., n)`` lie outside the box of training, and return whether they do."""
        return self.box is not None and self.box.warn(states)

    def forecast(self, frames: Array, count: int) -> Array:
        """Return the ``count`` states ``(count, n)`` after the last of ``frames`` ``(k, n)``, a smallest step apart.

        What came before the last frame is not looked at: the maps have no memory. Values are not finite where the maps
        diverge. Raises ValueError for other shapes and frames that are not finite.
        """
        frames = check_frames(frames, self.size, count)
        with np.errstate(over="ignore", invalid="ignore"):
            states = self.rollout(frames[-1], count)[0][1:]
        self.watch(states)
        return states

    def double(self) -> HiTS:
        """Return a copy whose networks compute in double precision, with the same weights.

        Where small differences of states matter (parareal's corrections), single precision shows.
        """
        copies = {m.dt: deepcopy(m).double() if isinstance(m, FlowMap) else m for m in self.all_maps}
        copied = self._coupling([copies[m.dt] for m in self.maps], self.scores)
        copied.all_maps = list(copies.values())
        return copied

    def save(self, path: str | Path, **card: object) -> None:
        """Write all maps, the selection, the box, what is in ``.card`` and further entries; see `storage.save_model`.

        Raises TypeError for maps that are no `FlowMap` of an `MLP`, `SkipNet` or `SplittingNet`, ValueError for entries
        of the file's own.
        """
        save_maps(path, self.all_maps, {**self.card, **card}, (self.maps[-1].dt, self.dt), self.box)

    @classmethod
    def load(cls, name_or_path: str | Path, **wanted: object) -> HiTS:
        """Read a hierarchy, in the precision it was saved in: a path, or a model of the package ("van-der-pol").

        It solves with the scales that were selected; ``all_maps`` are there to be selected anew. ``wanted`` are entries
        that the card must have, such as ``system="van-der-pol"``. Raises FileNotFoundError with the names there are,
        CorruptModelError for what `save` did not write, ModelMismatchError for another card.
        """
        saved = load_maps(name_or_path, wanted)
        with fitting(name_or_path, "the maps of a hierarchy"):
            loaded = cls(saved.maps)
            loaded.card, loaded.box = saved.card, saved.box
            low, high = saved.selected
            return loaded._coupling([m for m in saved.maps if low * (1 - 1e-9) <= m.dt <= high * (1 + 1e-9)], {})

    def _coupling(self, maps: Sequence[Stepper], scores: dict[tuple[float, float], float]) -> HiTS:
        """The same hierarchy with some of its maps coupled."""
        chosen = HiTS(maps)
        chosen.all_maps, chosen.box, chosen.card = self.all_maps, self.box, self.card
        chosen.histories, chosen.scores = self.histories, scores
        return chosen


def hybrid(maps: Hierarchy | Sequence[Stepper], stepper: Stepper) -> HiTS:
    """Return the hierarchy of the maps with ``dt`` above ``stepper.dt``, and the classical stepper below: algorithm 2.

    The networks make the knots, and the stepper advances all of them at once. Raises ValueError where no map is left,
    and what `Hierarchy` raises.
    """
    given = maps.maps if isinstance(maps, Hierarchy) else list(maps)
    coarse = [m for m in given if m.dt > stepper.dt * (1 + 1e-9)]
    if not coarse:
        raise ValueError(
            f"maps: expected at least one dt above the stepper's {stepper.dt}, got {[m.dt for m in given]}"
        )
    joined = HiTS([*coarse, stepper])
    joined.box = maps.box if isinstance(maps, HiTS) else None
    return joined


def _networks(maps: Sequence[Stepper]) -> list[FlowMap]:
    for stepper in maps:
        if not isinstance(stepper, FlowMap):
            raise TypeError(f"maps: expected FlowMaps to train, got {type(stepper).__name__}")
    return [m for m in maps if isinstance(m, FlowMap)]


def _part(progress: Progress | None, done: int, maps: int, dt: float) -> Progress | None:
    """The progress of one map as a part of that of all maps."""
    if progress is None:
        return None
    return lambda step, steps, text: progress(done * steps + step, maps * steps, f"step {dt:g}, {text}")
