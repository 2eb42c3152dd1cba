r"""Super-localised functions (SLOD): how close they come, what they cost, where they pay and where they fail.

Costs: the unit square, 8 x 8 fine cells in each coarse element, a process of its own for each case, one thread, CPU
seconds, the least of three. SLOD is set up with its basis and both matrices. A load then costs a Galerkin solve and B
c where it is constant on elements, and a response of all patches where it is not, which costs less for 20 at once and
much more where not all patches are held (memory=2**30); integrating loads, which all methods do, is not counted. The
fine solvers are set up already as well. "pays from": so many loads, constant on elements / of any kind, 20 at once.
Peak memory with nothing held, and with what fits into 2**30 bytes.

Accuracy: four families of coefficients; a constant load and a random one, uniform in (-1, 1) on 64 x 64 cells. Errors
against finite elements on the fine mesh, relative in L2 / energy, the worse one of seeds 0 and 3. SLOD is the
Galerkin variant. LOD is corrected and prolonged. "estimate" is `SLODSystem.estimate`, of the error in energy. What is
chosen (the damping of ell = 3, the bound of the condition) was chosen on seeds 1 and 2. Writes ``slod.md`` beside
this file. Usage::

    python -m demos.benchmarks.slod [--sizes 32 64] [--ell 2 3] [--cases 16 32] [--markdown FILE]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
from scipy.sparse.linalg import cg
from skfem import BilinearForm, LinearForm, MeshQuad, condense

from skfem_ml.coefficients import channels, iid_multilevel, inclusions, log_normal
from skfem_ml.compare import best_of, clocked, machine
from skfem_ml.lod import LOD, SLOD
from skfem_ml.problems import diffusion, load
from skfem_ml.solvers import preconditioner_pyamg, solver_direct

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
REFINE, SEEDS, REPEATS, LOADS = 8, (0, 3), 3, 20
mass = BilinearForm(lambda u, v, w: u * v)


def stretched(values, contrast):
    return np.exp((np.log(values) - np.log(values).min()) * np.log(contrast) / np.ptp(np.log(values)))


def crossing(mesh, contrast, rng):
    return np.maximum(*[channels(mesh, contrast, 4, 1 / 64, rng, axis) for axis in (0, 1)])


FAMILIES = {
    "multilevel, 5": lambda mesh, rng: iid_multilevel(mesh, range(levels(mesh) + 1), 1, 5, rng),
    "log-normal, 100": lambda mesh, rng: stretched(log_normal(mesh, 1.0, np.array([0.04, 0.04]), rng), 100.0),
    "discs, 100": lambda mesh, rng: inclusions(mesh, 100.0, 100, 0.03, rng),
    "channels, 100": lambda mesh, rng: crossing(mesh, 100.0, rng),
}


def levels(mesh):
    return round(np.log2(mesh.nelements) / 2)


def field(family, mesh, seed):
    return FAMILIES[family](mesh, np.random.default_rng([seed, list(FAMILIES).index(family)]))


@LinearForm
def rough(v, w):
    values = np.random.default_rng(5).uniform(-1, 1, (64, 64))
    return values[tuple(np.floor(64 * w.x[::-1]).astype(int))] * v


F = {"f = 1": load(1.0), "rough f": rough}


def errors(fine, u, A, M):
    """Relative errors in L2 and in energy."""
    return [np.sqrt((fine - u) @ K @ (fine - u) / (u @ K @ u)) for K in (M, A)]


def accuracy(coarse, ell, family, seed):
    """Errors of all methods for both loads, with damping, condition and estimate."""
    mesh = MeshQuad().refined(round(np.log2(coarse)))
    slod, lod = SLOD(mesh, REFINE, ell=ell), LOD(mesh, REFINE, ell=ell)
    a = field(family, slod.coefficient_mesh, seed)
    A, M = diffusion.assemble(slod.fine, a=a[:, None]), mass.assemble(slod.fine)
    told, system, other = {}, slod.system(diffusion, a=a), lod.system(diffusion, a=a)
    for name, f in F.items():
        K, b, x, free = condense(A, f.assemble(slod.fine), D=slod.fine.get_dofs())
        u = x.copy()
        u[free] = solver_direct()(K, b)
        c = system.solve(f, variant="galerkin")
        told[f"SLOD, {name}"] = errors(system.prolong(c, load=f), u, A, M)
        told[f"collocation, {name}"] = errors(system.solution(f, variant="collocation"), u, A, M)
        told[f"LOD, {name}"] = errors(other.prolong(other.solve(f, corrected=True), load=f), u, A, M)
        told[f"estimate, {name}"] = [system.estimate(c)]
    return told, system


def accuracy_rows(cases):
    for coarse in cases:
        for ell in (2, 3):
            for family in FAMILIES:
                both = [accuracy(coarse, ell, family, seed) for seed in SEEDS]
                worst = {key: np.max([told[key] for told, _ in both], axis=0) for key in both[0][0]}
                yield {
                    "coarse": f"{coarse}²",
                    "ell": ell,
                    "coefficient": family,
                    **{key: " / ".join(f"{e:.1e}" for e in value) for key, value in worst.items()},
                    "epsilon": ", ".join(f"{system.epsilon.max():.0e}" for _, system in both),
                    "condition": f"{max(system.condition for _, system in both):.0e}",
                }


def failures():
    """ell = 1, and channels of contrast 1e7: what comes out, and what is said of it."""
    for ell in (1, 2, 3):
        for contrast in (100.0, 1e7):
            slod = SLOD(MeshQuad().refined(5), REFINE, ell=ell)
            a = crossing(slod.coefficient_mesh, contrast, np.random.default_rng([0, 3]))
            A, M = diffusion.assemble(slod.fine, a=a[:, None]), mass.assemble(slod.fine)
            K, b, u, free = condense(A, load(1.0).assemble(slod.fine), D=slod.fine.get_dofs())
            u[free] = solver_direct(tol=1e-4)(K, b)
            system = slod.system(diffusion, a=a)
            row = {"ell": ell, "contrast": f"{contrast:.0e}"}
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                for variant in ("collocation", "galerkin"):
                    found = system.solution(load(1.0), variant=variant)
                    row[variant] = " / ".join(f"{e:.1e}" for e in errors(found, u, A, M))
                c = system.solve(load(1.0), variant="galerkin")
            row |= {"estimate": f"{system.estimate(c):.0e}", "condition": f"{system.condition:.0e}"}
            yield row | {"warned": "yes" if caught else "no"}


def cost(coarse, ell):
    """CPU seconds of LOD, of SLOD, of its loads, and of the fine rivals for one load; peak memory of SLOD."""
    mesh = MeshQuad().refined(round(np.log2(coarse)))
    slod, lod = SLOD(mesh, REFINE, ell=ell), LOD(mesh, REFINE, ell=ell)
    a = field("multilevel, 5", slod.coefficient_mesh, 0)
    lod.local(diffusion, [0], a=a)  # imports torch, builds the meshes
    engine, told = best_of(lambda: lod.system(diffusion, a=a).matrix(), REPEATS)[1].cpu, {}
    system, setup = best_of(lambda: built(slod, a), REPEATS)
    b = system.load(load(1.0), variant="galerkin")
    system.solve(b, variant="galerkin")  # factorises
    solving = best_of(lambda: system.prolong(system.solve(b, variant="galerkin")), 20)[1].cpu
    other = [LinearForm(lambda v, w, k=k: np.sin(40 * w.x[0] + k) * v) for k in range(LOADS)]
    told |= {"engine": engine, "setup": setup.cpu, "load": solving, "held": system.held}
    for key, some in (("rough", other[:1]), ("of many", other)):  # without integrating the loads, which all methods do
        with clocked() as integrating:
            system.load(some, corrected=False)
        with clocked() as whole:
            system.solution(some)
        told[key] = (whole.cpu - integrating.cpu) / len(some)
    return told | rivals(slod, a)


def memory(coarse, ell, held):
    """Peak memory of a basis in MB, and of what was there before it."""
    slod = SLOD(MeshQuad().refined(round(np.log2(coarse))), REFINE, ell=ell, memory=held)
    a = field("multilevel, 5", slod.coefficient_mesh, 0)
    SLOD(MeshQuad().refined(2), 2, ell=1).system(diffusion, a=1.0).matrix()  # imports torch
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    slod.system(diffusion, a=a).matrix()
    return {"before": before, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def built(slod, a):
    system = slod.system(diffusion, a=a)
    system.matrix("galerkin")
    return system


def rivals(slod, a):
    """CPU seconds a load of fine solvers that are set up already: to a residual of 1e-6, and one multigrid pass."""
    A, b = diffusion.assemble(slod.fine, a=a[:, None]), load(1.0).assemble(slod.fine)
    K, right, _, _ = condense(A, b, D=slod.fine.get_dofs())
    M = preconditioner_pyamg(K)
    told = {"pyamg CG": best_of(lambda: cg(K, right, rtol=1e-6, atol=0.0, M=M), REPEATS)[1].cpu}
    try:
        from skfem_ml.solvers import Multigrid
    except ImportError:
        print("skfem_ml.solvers has no Multigrid: its columns are left out", file=sys.stderr)
        return told
    mg = Multigrid(slod.fine, diffusion, a=a)
    mg.fmg(b)  # sets up what is made when first used
    told["Multigrid CG"] = best_of(lambda: mg.solve(b, rtol=1e-6), REPEATS)[1].cpu
    return told | {"one multigrid pass": best_of(lambda: mg.fmg(b), REPEATS)[1].cpu}


def child(*what):
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "demos.benchmarks.slod", "--measure", *map(str, what)]
    done = subprocess.run(command, env={**os.environ, **THREADS}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def cost_rows(sizes, ells):
    for coarse in sizes:
        for ell in ells:
            told = child("cost", coarse, ell)
            least, most = (child("memory", coarse, ell, held) for held in (0, 2**30))
            row = {
                "coarse": f"{coarse}²",
                "ell": ell,
                "LOD matrix, s": f"{told['engine']:.2f}",
                "SLOD set-up, s": f"{told['setup']:.2f}",
                "ratio": f"{told['setup'] / told['engine']:.1f}",
                "MB before": f"{least['before']:.0f}",
                "MB": f"{least['peak']:.0f}",
                "MB with patches held": f"{most['peak']:.0f} ({told['held']})",
                "f constant on elements, ms": f"{1e3 * told['load']:.1f}",
                "any f, ms": f"{1e3 * told['rough']:.0f}",
                f"{LOADS} at once, each": f"{1e3 * told['of many']:.0f}",
            }
            for rival in ("pyamg CG", "Multigrid CG", "one multigrid pass"):
                if rival in told:
                    pays = [told["setup"] / (told[rival] - told[key]) for key in ("load", "of many")]
                    row[f"{rival}, ms"] = f"{1e3 * told[rival]:.0f}"
                    row[f"pays against {rival} from"] = " / ".join(f"{p:.0f}" if p > 0 else "never" for p in pays)
            yield row


def table(title, rows):
    """Print a table row by row; returns its lines."""
    lines = [f"## {title}", ""]
    for number, row in enumerate(rows):
        if not number:
            lines += ["| " + " | ".join(row) + " |", "|" + "---:|" * len(row)]
        lines.append("| " + " | ".join(str(value) for value in row.values()) + " |")
        print(*(lines if not number else lines[-1:]), sep="\n", flush=True)
    return [*lines, ""]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--cases", type=int, nargs="*", default=[16, 32], help="coarse elements along an edge: accuracy"
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=[32, 64], help="coarse elements along an edge: costs")
    parser.add_argument("--ell", type=int, nargs="+", default=[2, 3], help="layers of the patches: costs")
    parser.add_argument("--markdown", type=Path, default=Path(__file__).with_suffix(".md"), help="where tables go")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        what, *numbers = options.measure
        print(json.dumps({"cost": cost, "memory": memory}[what](*map(int, numbers))))
        return
    lines = [
        "# Super-localised functions",
        "",
        machine() + ".",
        "",
        *__doc__.partition("\n\n")[2].partition(" Usage::")[0].splitlines(),
        "",
    ]
    lines += table("Costs", cost_rows(options.sizes, options.ell))
    lines += table("Accuracy", accuracy_rows(options.cases))
    lines += table("Where it fails: channels, 32 x 32", failures())
    options.markdown.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
