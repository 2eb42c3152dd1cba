"""The list of commands of ``skfem-ml``, each in a file of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from skfem_ml import __version__
from skfem_ml.cli.compare.custom_operator import custom_operator
from skfem_ml.cli.compare.diffusion import diffusion
from skfem_ml.cli.compare.eigen import eigen
from skfem_ml.cli.compare.flows import flows
from skfem_ml.cli.compare.heat import heat
from skfem_ml.cli.compare.rte import rte
from skfem_ml.cli.compare.sequences import sequences
from skfem_ml.cli.demos import demos
from skfem_ml.cli.doctor import doctor
from skfem_ml.cli.errors import Command, Commands, remember_debug
from skfem_ml.cli.models import models
from skfem_ml.cli.options import grouped
from skfem_ml.cli.solve import solve
from skfem_ml.cli.train.fmmnet import fmmnet
from skfem_ml.cli.train.hits import hits
from skfem_ml.cli.train.predict import predict
from skfem_ml.cli.train.surrogate import surrogate
from skfem_ml.cli.view.command import view

Lines = dict[Callable[..., None], str]  # command -> its line in the list; its docstring is its own help
COMMANDS: Lines = {
    solve: "Solve on one field by one method.",
    view: "Make a page of a result for a browser.",
    doctor: "Check the installation.",
    models: "List the trained models in the package.",
    predict: "Use a map of functions that was trained.",
    demos: "List the demos as commands to run.",
}
GROUPS: dict[str, tuple[str, Lines]] = {
    "compare": (
        "Compare methods on one problem.",
        {
            diffusion: "An oscillating coefficient: LOD, FEM, surrogates.",
            heat: "Heat on a segment: networks, FD, FEM.",
            eigen: "Eigenpairs of a symmetric matrix.",
            flows: "Flow maps and integrators of ODEs.",
            sequences: "Sequences learnt by heart and continued.",
            rte: "Radiative transfer: networks, regressions.",
            custom_operator: "The kernel of FMM-Net: networks, H2.",
        },
    ),
    "train": (
        "Train networks.",
        {
            surrogate: "A network in the place of correctors.",
            hits: "A hierarchy of flow maps of an ODE.",
            fmmnet: "A network on an H2 graph.",
        },
    ),
}

app = typer.Typer(
    cls=Commands,
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Multiscale problems with scikit-fem: LOD and learned solvers beside finite elements.",
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


def add(group: typer.Typer, command: Callable[..., None], line: str) -> None:
    """Add a command, called as its function is, with a hyphen where that has an underscore."""
    name = command.__name__.replace("_", "-")
    group.command(name, cls=Command, short_help=line)(grouped(command))


for name, (text, commands) in GROUPS.items():
    group = typer.Typer(rich_markup_mode=None)
    for command, line in commands.items():
        add(group, command, line)
    app.add_typer(group, name=name, help=text)
for command, line in COMMANDS.items():
    add(app, command, line)


def run() -> None:
    """Run the command line on ``sys.argv`` and leave with its exit code."""
    app(prog_name="skfem-ml")
