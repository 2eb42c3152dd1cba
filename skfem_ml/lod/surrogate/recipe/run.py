"""What a run of a training keeps in its folder: settings, decisions, seconds by stage."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from skfem_ml.learning.storage import CorruptModelError, ModelMismatchError, write_whole

REMEDY = "wanted is what was asked, got what the folder holds; take another folder, or the same settings"
T = TypeVar("T", int, float, str, dict[str, object])


class Run:
    """The folder of one training: a run that was broken off goes on with what was decided, and is refused with others.

    Parameters
    ----------
    folder
        Where "run.json" is, and labels, checkpoint and model are kept; made if missing.
    settings
        JSON values that determine the run.

    Raises ModelMismatchError, with the entries that differ, for a folder of other settings, and CorruptModelError for
    a "run.json" that cannot be read.
    """

    def __init__(self, folder: Path, settings: Mapping[str, object]):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.path = folder, folder / "run.json"
        self.settings: dict[str, object] = json.loads(json.dumps(settings))
        self.decisions: dict[str, object] = {}
        self.cpu: dict[str, float] = {}
        if self.path.exists():
            self._read()

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, decided: {', '.join(self.decisions) or 'nothing'})"

    @property
    def labels(self) -> Path:
        """The folder of the labels."""
        return self.folder / "labels"

    @property
    def checkpoint(self) -> Path:
        """The file of the weights as they go."""
        return self.folder / "training.pt"

    @property
    def model(self) -> Path:
        """The file of the model."""
        return self.folder / "model.safetensors"

    @property
    def spent(self) -> float:
        """CPU seconds of all stages, those of earlier runs in the folder included."""
        return sum(self.cpu.values())

    def decided(self, name: str, decide: Callable[[], T]) -> T:
        """What was decided in an earlier run, or is now; kept at once."""
        if name not in self.decisions:
            self.decisions[name] = decide()
            self._write()
        return self.decisions[name]  # type: ignore[return-value]

    def require(self, name: str, value: T) -> None:
        """Raise ModelMismatchError where an earlier run had another value of a setting that is known late."""
        held = self.decided(name, lambda: value)
        if held != json.loads(json.dumps(value)):
            raise ModelMismatchError(str(self.path), {name: value}, {name: held}, REMEDY)

    @property
    def complete(self) -> bool:
        """Whether its model is whole, verdict included."""
        return bool(self.decisions.get("complete")) and self.model.exists()

    @complete.setter
    def complete(self, value: bool) -> None:
        self.decisions["complete"] = int(value)
        self._write()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the CPU seconds of a part of the work, also of one that is broken off."""
        start = time.process_time()
        try:
            yield
        finally:
            self.cpu[name] = self.cpu.get(name, 0.0) + time.process_time() - start
            self._write()

    def _write(self) -> None:
        content = {"settings": self.settings, "decisions": self.decisions, "cpu": self.cpu}
        write_whole(self.path, json.dumps(content, indent=1).encode())

    def _read(self) -> None:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            found, self.decisions, self.cpu = content["settings"], content["decisions"], content["cpu"]
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptModelError(
                f"{self.path}: expected the file of a run, got {error}; remove the folder"
            ) from error
        names = [name for name in (*self.settings, *found) if self.settings.get(name) != found.get(name)]
        if names:
            wanted = {name: self.settings.get(name) for name in dict.fromkeys(names)}
            raise ModelMismatchError(str(self.path), wanted, found, REMEDY)


@contextmanager
def kept_in(folder: str | Path | None) -> Iterator[Path]:
    """A folder that stays, or, for None, one that goes at the end."""
    if folder is not None:
        yield Path(folder)
        return
    with TemporaryDirectory() as temporary:
        yield Path(temporary)
