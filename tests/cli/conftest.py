"""A training that is stopped where it tells of a step."""

from contextlib import contextmanager

import pytest

from skfem_ml import progress
from skfem_ml.cli.screen import Screen


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Lines that tell how far a command is come by the clock: none in commands that run in this process."""
    monkeypatch.setattr(progress, "EVERY", 1e6)


@pytest.fixture
def stopping(monkeypatch):
    """``with stopping(50): ...``: Ctrl-C when a training tells the loss of step 50 or a later one."""

    @contextmanager
    def stopping(step):
        def tell(done, total, text):
            if done >= step and ("loss" in text or not step):
                raise KeyboardInterrupt

        @contextmanager
        def progress(screen):
            yield tell

        with monkeypatch.context() as patch:
            patch.setattr(Screen, "progress", progress)
            yield

    return stopping
