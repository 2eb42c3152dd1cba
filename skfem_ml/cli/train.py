"""``skfem-ml train WHAT``: the group; every WHAT is a command in a file of its own."""

from __future__ import annotations

import typer

train = typer.Typer(rich_markup_mode=None)


@train.callback()
def networks() -> None:
    """Train a network and write it to a file."""
