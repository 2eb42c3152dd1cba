"""``skfem-ml train WHAT``: one command for each kind of network, each in its own file."""

from __future__ import annotations

import typer

train_app = typer.Typer(rich_markup_mode=None)


@train_app.callback()
def networks() -> None:
    """Train networks."""
