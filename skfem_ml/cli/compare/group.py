"""``skfem-ml compare WHAT``: one command for each kind of problem, each in its own file."""

from __future__ import annotations

import typer

compare_app = typer.Typer(rich_markup_mode=None)


@compare_app.callback()
def problems() -> None:
    """Compare methods on one problem."""
