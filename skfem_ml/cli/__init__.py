"""The command line ``skfem-ml``, thin over the library: `app` lists the commands, each in a file of its own.

``run`` runs a comparison or a training and says what came of it; ``screen`` is all that is printed, ``errors`` how a
command ends, ``options`` what several commands are asked, ``outputs`` how files are written, ``cases`` how a field
becomes a problem, ``learned`` the surrogates beside it.
"""

from skfem_ml.cli.interrupts import told

__all__ = ["main"]


def main() -> None:
    """Run the command line on ``sys.argv`` and leave with its exit code: 0, 2 for bad input, 130 for Ctrl-C, else 1."""
    with told():  # from here on; what the commands need takes a moment to load
        from skfem_ml.cli.app import run

        run()
