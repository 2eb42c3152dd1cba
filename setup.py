"""The packages: those of skfem_ml, and the scripts of demos/ as skfem_ml.demos, which pyproject.toml cannot add to a
search."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["skfem_ml*"]), "skfem_ml.demos"], package_dir={"skfem_ml.demos": "demos"})
