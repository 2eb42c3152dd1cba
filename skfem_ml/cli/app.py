"""The command line ``skfem-ml``, thin over the library: ``compare``, ``train``, ``solve``, ``doctor``, ``demos``."""

from __future__ import annotations

from typing import Annotated

import typer

from skfem_ml import __version__
from skfem_ml.cli.compare import diffusion, flows, learners, operators, sequences  # noqa: F401 (they add commands)
from skfem_ml.cli.compare.group import compare_app
from skfem_ml.cli.demos import demos
from skfem_ml.cli.doctor import doctor
from skfem_ml.cli.errors import Commands, remember_debug
from skfem_ml.cli.options import reads_field
from skfem_ml.cli.solve import solve
from skfem_ml.cli.train import fmmnet, hits, surrogate  # noqa: F401 (as well)
from skfem_ml.cli.train.group import train_app

app = typer.Typer(
    cls=Commands,
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Multiscale diffusion with scikit-fem: LOD against finite elements.",
)


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.", callback=remember_debug)] = False,
) -> None:
    """Show version or help where no command follows."""
    if version:
        typer.echo(f"skfem-ml {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.add_typer(compare_app, name="compare", help="Compare methods on one problem.")
app.add_typer(train_app, name="train", help="Train networks.")
app.command()(reads_field(solve))
app.command()(doctor)
app.command()(demos)


def main() -> None:
    """Run the command line on ``sys.argv`` and leave with its exit code: 0, 2 for bad input, 130 for Ctrl-C, else 1."""
    app(prog_name="skfem-ml")
