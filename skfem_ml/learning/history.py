"""What a training tells: the records of its loss, and how it ended."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from skfem_ml import displays


@dataclass(repr=False)
class History:
    """What happened: ``steps``, ``losses`` and ``seconds`` at the records, the ``best`` loss and its step.

    ``status`` is 0 (all steps done), 1 (``tol`` reached), 2 (the optimiser finds no decrease), 3 (``patience`` at its
    end) or -1 (the loss was not finite); ``message`` says it in words. Iteration yields (step, loss, seconds).

    >>> history = History([10, 20], [0.5, 0.25], [1.0, 2.0], best=0.25, best_step=20)
    >>> history
    History(2 records to step 20, best 2.500e-01 at step 20, 2.0 s)
    >>> [step for step, loss, seconds in history if loss < 0.4]
    [20]
    """

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best: float = math.inf
    best_step: int = 0
    status: int = 0
    message: str = ""

    def __len__(self) -> int:
        return len(self.steps)

    def __bool__(self) -> bool:
        return True  # a run that recorded nothing is a history all the same

    def __iter__(self) -> Iterator[tuple[int, float, float]]:
        return iter(zip(self.steps, self.losses, self.seconds, strict=True))

    def __repr__(self) -> str:
        if not self.steps:
            return f"History(no records{'; ' + self.message if self.message else ''})"
        told = f"; {self.message}" if self.status else ""
        return (
            f"History({len(self.steps)} records to step {self.steps[-1]}, best {self.best:.3e} at step "
            f"{self.best_step}, {self.seconds[-1]:.1f} s{told})"
        )

    def to_dict(self) -> dict[str, int | float | str | list[int] | list[float] | None]:
        """Return JSON values under the names of the fields; ``best`` is None where nothing was recorded."""
        return {**asdict(self), "best": self.best if math.isfinite(self.best) else None}

    @classmethod
    def from_dict(cls, values: dict) -> History:
        """Return the history of `to_dict`; TypeError for other names."""
        return cls(**{**values, "best": math.inf if values.get("best") is None else values["best"]})

    def _repr_html_(self) -> str:
        """The curve of the losses, for notebooks."""
        return displays.curve(repr(self), self.steps, self.losses)
