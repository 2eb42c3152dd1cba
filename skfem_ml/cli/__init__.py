"""The command line ``skfem-ml``, thin over the library: ``compare``, ``train``, ``solve``, ``doctor``, ``demos``."""

from skfem_ml.cli.app import app, main

__all__ = ["app", "main"]
