"""Sequences to be generated: states at equal times, the first of them to learn, the last held out.

The published protocol (Liu, Kutz and Brunton 2022, section 3(b)) trains on a sequence and reproduces the same sequence
from its first state. What lies after it is here as well, so that a continuation can be judged beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from skfem_ml.solutions import Forecaster, Generated, Record
from skfem_ml.solutions.record import Losses

Array = NDArray[np.float64]

# Opening of the fugue in C major, BWV 846 (Well-Tempered Clavier, book I): start and length in quavers, MIDI pitch.
FUGUE: tuple[tuple[float, float, int], ...] = (
    (0, 1, 60), (1, 1, 62), (2, 1, 64), (3, 1.5, 65), (4.5, 0.25, 67), (4.75, 0.25, 65), (5, 1, 64), (6, 1, 69),
    (7, 1, 62), (8, 1.5, 67), (9.5, 0.5, 69), (10, 0.5, 67), (10.5, 0.5, 65),
)  # fmt: skip
QUAVER = 0.25  # seconds
RATE = 1102.5  # samples in a second: 22050 / 20, as in the published program
PARTIALS = (1.0, 0.5, 0.25, 0.12)
FLOW_FILE = "cylinder.npz"


@dataclass(frozen=True, eq=False)
class Sequence:
    """States ``(k, n)`` at times ``i dt``; a generator may learn from the first ``train`` of them.

    ``modes`` ``(n, m)`` turn states into what is measured, ``states @ modes``; without modes the states themselves are.
    ``target`` ``(k, m)``: the exact values of that, where the states are only a projection.
    Raises ValueError for shapes that do not fit, values that are not finite, train out of range, dt not positive.

    >>> import numpy as np
    >>> from skfem_ml.problems import Sequence
    >>> sequence = Sequence("turn", np.eye(5), 4, 0.5)
    >>> sequence, sequence.learnt.shape, sequence.held_out
    (Sequence('turn', 4 of 5 frames to learn, 5 numbers each, dt = 0.5), (4, 5), 1)
    """

    name: str
    states: Array
    train: int
    dt: float
    modes: Array | None = None
    target: Array | None = None

    def __post_init__(self) -> None:
        if self.states.ndim != 2 or not np.isfinite(self.states).all():
            raise ValueError(f"states: expected finite numbers (k, n), got shape {self.states.shape}")
        if not (3 <= self.train <= len(self.states) and self.dt > 0):
            raise ValueError(
                f"train, dt: expected 3 to {len(self.states)} frames and a positive step, got {self.train}, {self.dt}"
            )
        if self.modes is not None and self.modes.shape[0] != self.states.shape[1]:
            raise ValueError(f"modes: expected ({self.states.shape[1]}, m), got {self.modes.shape}")

    def __repr__(self) -> str:
        frames = f"{self.train} of {len(self.states)} frames to learn, {self.states.shape[1]} numbers each"
        return f"Sequence({self.name!r}, {frames}, dt = {self.dt:.4g})"

    @property
    def learnt(self) -> Array:
        """The states to learn from, ``(train, n)``: a copy."""
        return self.states[: self.train].copy()

    @property
    def held_out(self) -> int:
        """How many frames come after those to learn from."""
        return len(self.states) - self.train

    @cached_property
    def exact(self) -> Generated:
        """The sequence itself, in states."""
        return Generated(self.states[: self.train], self.states[self.train :])

    @property
    def truth(self) -> Array:
        """What is measured, exact, ``(k, m)``."""
        return self.measured(self.states) if self.target is None else self.target

    @property
    def card(self) -> dict[str, object]:
        """What the card of a model says of its data."""
        return {"sequence": self.name, "frames": self.train, "dt": self.dt}

    def trial(self) -> Sequence:
        """Return the frames to be learnt alone, the last of them held out, to choose settings on.

        As many as are held out here, at most a third. Raises ValueError where nothing is held out.
        """
        aside = min(self.held_out, self.train // 3)
        if aside < 1:
            raise ValueError("sequence: expected frames held out, to be continued, got none")
        return Sequence(self.name, self.learnt, self.train - aside, self.dt)

    def measured(self, states: Array) -> Array:
        """Return what is measured of states ``(..., n)``: fields ``(..., m)``, or the states."""
        return states if self.modes is None else states @ self.modes


def white_noise(like: Sequence, seed: int = 0) -> Sequence:
    """Return white noise with the shape of a sequence, and the mean and deviation of each number in what is learnt.

    There is nothing to learn in it but the frames themselves: who reproduces it remembers.
    """
    rng = np.random.default_rng(seed)
    center, spread = like.learnt.mean(axis=0), like.learnt.std(axis=0)
    states = center + spread * rng.standard_normal(like.states.shape)
    return Sequence(f"white noise for {like.name}", states, like.train, like.dt)


def music(
    seconds: float = 2.0, more: float = 0.25, delays: int = 128, notes: tuple[tuple[float, float, int], ...] = FUGUE
) -> Sequence:
    """Return the opening of the fugue BWV 846, synthesised: windows of ``delays`` samples, (k, delays).

    A note is a decaying sum of its first partials below half the rate of 1102.5 Hz; the signal's peak is 1. ``seconds``
    are to be learnt, ``more`` are held out. Raises ValueError where the notes are shorter, or ``delays`` too many.
    """
    end = QUAVER * max(start + length for start, length, _ in notes)
    count, extra = round(seconds * RATE), round(more * RATE)
    if not 0 <= more <= end - seconds or not 2 <= delays <= count - 2:
        raise ValueError(
            f"seconds, more, delays: expected seconds + more <= {end:g} and 2 <= delays <= {count - 2}, got "
            f"{seconds:g}, {more:g}, {delays}"
        )
    signal = synthesise(notes, count + extra)
    windows = np.lib.stride_tricks.sliding_window_view(signal, delays)
    return Sequence("music", np.ascontiguousarray(windows), count - delays + 1, 1 / RATE)


def synthesise(notes: tuple[tuple[float, float, int], ...], count: int) -> Array:
    """Return ``count`` samples at 1102.5 Hz of notes (start and length in quavers, MIDI pitch), of peak 1."""
    t = np.arange(count) / RATE
    signal = np.zeros(count)
    for start, length, pitch in notes:
        tone, base = np.zeros(count), 440.0 * 2.0 ** ((pitch - 69) / 12)
        for k, weight in enumerate(PARTIALS, start=1):
            if k * base < RATE / 2:
                tone += weight * np.sin(2 * np.pi * k * base * (t - QUAVER * start))
        age, left = t - QUAVER * start, QUAVER * (start + length) - t
        shape = np.clip(age / 0.01, 0, 1) * np.clip(left / 0.02, 0, 1) * np.exp(-3 * np.clip(age, 0, None))
        signal += shape * tone
    return signal / abs(signal).max()


def clip(frames: int = 200, more: int = 20, size: int = 48, rank: int = 64) -> Sequence:
    """Return a clip of eight blobs that move and pulse at incommensurate frequencies, ``size`` x ``size`` grey pixels.

    States are coordinates in the SVD of the frames to be learnt, scaled as the right singular vectors (columns of norm
    1 over those frames), of ``rank``. Raises ValueError where there are fewer frames than ``rank``.
    """
    if not 1 <= rank <= frames or more < 0 or size < 4:
        raise ValueError(f"rank, more, size: expected 1 to {frames}, >= 0, >= 4, got {rank}, {more}, {size}")
    t = np.arange(frames + more)[:, None, None] / 40
    x, y = np.meshgrid(*[np.linspace(-1, 1, size)] * 2)
    images = np.zeros((frames + more, size, size))
    for k in range(8):
        a, b, c = 0.61 + 0.37 * k, 0.83 + 0.29 * np.sqrt(k + 2), 0.47 + 0.31 * k**0.7
        left, up = x - 0.6 * np.cos(a * t + k), y - 0.6 * np.sin(b * t + 2 * k)
        width = 0.12 + 0.03 * np.sin(c * t + k)
        images += np.exp(-(left**2 + up**2) / (2 * width**2))
    states, _ = svd_states(images.reshape(len(images), -1), frames, rank)
    return Sequence("video", states, frames, 1.0)


def cylinder(rank: int = 22) -> Sequence:
    """Return the flow past a cylinder at Re 100, coordinates in an SVD: 151 frames to learn, those after held out.

    The file in the package was made by ``data/make_flow.py`` with `reference.cylinder`, a coarse Taylor-Hood
    discretisation. States are right singular vectors as in `clip`. Raises ValueError for a rank that the file lacks.
    """
    data = cylinder_file()
    available = data["states"].shape[1]
    if not 1 <= rank <= available:
        raise ValueError(f"rank: expected 1 to {available}, as the shipped flow has, got {rank}")
    return Sequence("fluid", data["states"][:, :rank], int(data["train"]), float(data["dt"]))


def cylinder_file() -> dict[str, Array]:
    """Return the shipped flow: states ``(k, 22)``, train, dt, vorticity modes ``(22, ny, nx)`` for pictures, x, y."""
    path = resources.files("skfem_ml") / "fields" / FLOW_FILE
    with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
        return {name: data[name].astype(float) for name in data.files}


def generated(
    sequence: Sequence, model: Forecaster, unknowns: int, history: Iterable[Losses] = (), **notes: object
) -> Generated:
    """Return what a model makes of a sequence: what it learnt from the first frame on, and what follows the last.

    The ``record`` notes the model as "model", and the ``notes``.
    """
    learnt = sequence.learnt
    reproduced = np.concatenate([learnt[:1], model.forecast(learnt[:1], len(learnt) - 1)])
    record = Record(unknowns, history=tuple(history), notes={"model": model, **notes})
    return Generated(reproduced, model.forecast(learnt, sequence.held_out), record)


def check_frames(frames: Array, n: int | None, count: int) -> Array:
    """Return frames ``(k, n)`` to go on from, in double; ValueError for other shapes, values or a negative count."""
    frames = np.asarray(frames, dtype=float)
    if frames.ndim != 2 or not len(frames) or n not in (None, frames.shape[1]) or not np.isfinite(frames).all():
        raise ValueError(f"frames: expected finite (k, {n or 'n'}), k at least 1, got shape {frames.shape}")
    if count < 0:
        raise ValueError(f"count: expected 0 or more frames to come, got {count}")
    return frames


def svd_states(frames: Array, train: int, rank: int) -> tuple[Array, Array]:
    """Return states ``(k, rank)`` and modes ``(rank, m)`` with ``frames ~ states @ modes``, by the SVD of the first.

    Over the first ``train`` frames the states are the leading right singular vectors of ``frames.T``.
    """
    left, values, right = np.linalg.svd(frames[:train], full_matrices=False)
    modes = values[:rank, None] * right[:rank]
    states = np.concatenate([left[:, :rank], frames[train:] @ right[:rank].T / values[:rank]])
    return states, modes
