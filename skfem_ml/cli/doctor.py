"""``skfem-ml doctor``: versions, devices, threads, shipped files, and a one-second self-test."""

from __future__ import annotations

import hashlib
import json as json_format
import os
import platform
from importlib import metadata, resources
from pathlib import Path

import typer

from skfem_ml.cli import options as opt
from skfem_ml.cli.screen import say

PACKAGES = ("scikit-fem", "numpy", "scipy", "torch", "meshio", "pyamg", "safetensors", "typer", "rich", "matplotlib")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
AGREEMENT = 1e-10


def doctor(json: opt.Json = False, debug: opt.Debug = False) -> None:
    """Show versions, devices and threads, check the shipped files, and run a self-test; exit code 1 if one fails."""
    problems: list[str] = []
    content = {
        "versions": versions(problems),
        "devices": devices(problems),
        "threads": threads(),
        "files": shipped_files(problems),
        "models": shipped_models(problems),
        "self-test": self_test(problems),
        "problems": problems,
    }
    if json:
        typer.echo(json_format.dumps(content, indent=2))
    else:
        for section, entries in content.items():
            if isinstance(entries, dict) and entries:
                typer.echo(f"{section}: " + ", ".join(f"{name} {value}" for name, value in entries.items()))
        typer.echo("everything in order" if not problems else f"{len(problems)} problem(s)")
    for problem in problems:
        say(f"error: {problem}")
    if problems:
        raise typer.Exit(1)


def versions(problems: list[str]) -> dict[str, str]:
    """Return the versions of Python, this package and its dependencies."""
    from skfem_ml import __version__

    found = {"skfem-ml": __version__, "Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "missing"
            problems.append(f"{package} is not installed; install it by: pip install {package}")
    return found


def devices(problems: list[str]) -> dict[str, str]:
    """Return the torch devices."""
    try:
        import torch
    except Exception as error:  # a broken installation fails in many ways
        problems.append(f"torch cannot be imported ({type(error).__name__}: {error}); install it anew")
        return {"torch": "missing"}
    found = {"cpu": platform.processor() or platform.machine()}
    found |= {f"cuda:{k}": torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())}
    return found


def threads() -> dict[str, object]:
    """Return the number of cores, torch's threads, and limits from the environment."""
    found: dict[str, object] = {"cores": os.cpu_count()}
    try:
        import torch

        found["torch"] = torch.get_num_threads()
    except Exception:  # already reported by `devices`
        pass
    return {**found, **{name: os.environ.get(name, "not set") for name in THREADS}}


def shipped_files(problems: list[str], folder: Path | None = None) -> dict[str, str]:
    """Compare the fields in the package with their manifest (name -> sha256)."""
    folder = Path(str(resources.files("skfem_ml") / "fields")) if folder is None else folder
    try:
        manifest = json_format.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problems.append(f"the manifest of the shipped fields cannot be read ({error}); install the package anew")
        return {"manifest.json": "unreadable"}
    found = {}
    for name, expected in manifest.items():
        path = folder / name
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"
        found[name] = "ok" if digest == expected else "missing" if digest == "missing" else "changed"
        if digest != expected:
            problems.append(f"{path}: expected sha256 {expected}, got {digest}; install the package anew")
    return found


def shipped_models(problems: list[str], folder: Path | None = None) -> dict[str, str]:
    """Read the models in the package: each file has the sha256 of its own card and weights."""
    try:
        from skfem_ml.learning.storage import load_model
    except Exception:  # torch is missing: already reported by `devices`
        return {}
    found = {}
    for path in sorted((folder or Path(str(resources.files("skfem_ml") / "models"))).rglob("*.safetensors")):
        try:
            load_model(path)
            found[path.stem] = "ok"
        except (ValueError, OSError) as error:
            found[path.stem] = "changed"
            problems.append(f"{error}; install the package anew")
    return found


def self_test(problems: list[str]) -> dict[str, str]:
    """Run both engines of LOD on a tiny case of contrast 100; they agree to 1e-10 where all is well."""
    import numpy as np
    from skfem import MeshQuad

    from skfem_ml.lod.method import LOD
    from skfem_ml.problems import diffusion

    try:
        a = 10 ** np.random.default_rng(0).uniform(0, 2, 256)
        first, second = (
            LOD(MeshQuad().refined(2), refine=4, ell=1, engine=engine).assemble(diffusion, a=a)
            for engine in ("condensation", "reference")
        )
        gap = abs(first - second).max() / abs(second).max()
    except Exception as error:
        problems.append(f"self-test: {type(error).__name__}: {error}")
        return {"LOD engines": "failed"}
    if not gap <= AGREEMENT:
        problems.append(f"self-test: the engines of LOD differ by {gap:.1e}, expected at most {AGREEMENT:.0e}")
    return {"LOD engines": f"agree to {gap:.1e}" if gap <= AGREEMENT else f"differ by {gap:.1e}"}
