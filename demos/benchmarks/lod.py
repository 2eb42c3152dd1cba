r"""How fast LOD matrices are assembled: CPU seconds an element and peak memory of both engines.

32 x 32 coarse elements; fine meshes of 256^2, 512^2 and 1024^2 cells; one iid U[1, 5] coefficient value per cell of the
256^2 mesh; ell = 1, 2, 3. Everything is measured in the same run on one thread:

- the fast engine (shared static condensation), on all 1024 elements;
- the reference engine, a sparse Schur complement a patch by ``splu`` with the ordering and pivoting tuned for finite
  element matrices, on some elements in the middle of the domain (their patches are not clipped);
- one direct fine solve (assembly, condensation, ``splu`` tuned the same way).

Each case runs in a process of its own, so that its peak memory can be told. With ``--shared``, instead: matrix,
corrected load and reconstruction with it, by three separate calls of ``lod`` and by one `System`, which holds
factorised patches. Usage::

    python -m demos.benchmarks.lod [--shared] [--cases 8 16 32] [--ell 1 2 3] [--markdown FILE]
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

from skfem_ml.compare import best_of

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
COARSE, CELLS = 5, 8  # 2^5 coarse elements along an edge, 8 x 8 coefficient cells in each
SAMPLE = {8: 24, 16: 8, 32: 3}  # elements that the reference engine is timed on
REPEATS = 3


def cpu(work, repeats=1):
    """The smallest CPU time of some runs, and the last result."""
    result, spent = best_of(work, repeats)
    return spent.cpu, result


def set_up(n, ell, engine):
    """The space, the coefficient, and elements in the middle of the domain."""
    import numpy as np
    from skfem import Basis, ElementQuad1, MeshQuad

    from skfem_ml.lod import LOD

    lod = LOD(Basis(MeshQuad().refined(COARSE), ElementQuad1()), refine=n, cells=CELLS, ell=ell, engine=engine)
    a = np.random.default_rng(0).uniform(1, 5, lod.coefficient_mesh.nelements)
    middle = lod.coarse.mesh.p[:, lod.coarse.mesh.t].mean(axis=1)
    elements = np.lexsort(abs(middle - 0.5))[: SAMPLE[n]]
    return lod, a, elements


def measure(engine, n, ell):
    """Seconds an element and the local matrices of the sample, or seconds of one direct fine solve."""
    import torch

    from skfem_ml.problems import diffusion, load
    from skfem_ml.solvers import solver_direct

    torch.set_num_threads(1)
    lod, a, elements = set_up(n, ell, "reference" if engine == "reference" else "condensation")
    if engine == "direct":
        from skfem import condense, solve

        values = a[lod.space.coefficient_cell]
        basis, assembling = lod.fine, time.process_time()
        K, b = diffusion.assemble(basis, a=values[:, None]), load(1.0).assemble(basis)
        system = condense(K, b, D=basis.get_dofs())
        assembling = time.process_time() - assembling
        return {"seconds": cpu(lambda: solve(*system, solver=solver_direct()))[0], "assembling": assembling}
    if engine == "fast":
        cpu(lambda: lod.local(diffusion, elements, a=a))  # imports torch
        seconds, S = cpu(lambda: lod.local(diffusion, a=a), REPEATS)
        S, seconds = S[elements], seconds / len(S)
    else:
        cpu(lambda: lod.local(diffusion, elements[:1], a=a))
        seconds, S = cpu(lambda: lod.local(diffusion, elements, a=a))
        seconds /= len(elements)
    return {"seconds": seconds, "sample": S.tolist()}


def measure_shared(n, ell):
    """Seconds of matrix, corrected load and reconstruction: by separate calls, and by one system."""
    import numpy as np
    import torch
    from skfem.models import unit_load

    from skfem_ml.problems import diffusion

    torch.set_num_threads(1)
    lod, a, elements = set_up(n, ell, "condensation")
    u = np.sin(3 * lod.coarse.doflocs).prod(axis=0)
    lod.local(diffusion, elements, a=a)  # imports torch, builds the meshes

    def separate():
        lod.assemble(diffusion, a=a)
        b = lod.load(unit_load, corrected=True, bilinear=diffusion, a=a)
        return b, lod.prolong(u, diffusion, load=unit_load, a=a)

    def together():
        system = lod.system(diffusion, a=a)
        system.matrix()
        b = system.load(unit_load, corrected=True)
        return b, system.prolong(u, load=unit_load), system

    apart, (b, fine) = cpu(separate, REPEATS)
    seconds, (c, again, system) = cpu(together, REPEATS)
    gap = max(float(abs(x - y).max() / abs(y).max()) for x, y in ((c, b), (again, fine)))
    return {"apart": apart, "together": seconds, "gap": gap, "held": system.held}


def child(engine, n, ell):
    """Measure in a fresh process; adds its peak memory in MB."""
    command = [sys.executable, "-m", "demos.benchmarks.lod", "--measure", engine, str(n), str(ell)]
    done = subprocess.run(command, env={**os.environ, **THREADS}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def difference(one, other):
    """Largest difference of the sampled local matrices, relative."""
    import numpy as np

    one, other = np.array(one), np.array(other)
    return float(abs(one - other).max() / abs(other).max())


def rows(cases, ells):
    """Yield one line of the table after the other."""
    for n in cases:
        direct = child("direct", n, 1)
        for ell in ells:
            fast, reference = child("fast", n, ell), child("reference", n, ell)
            yield {
                "fine": f"{32 * n}²",
                "ell": ell,
                "fast ms/element": f"{1e3 * fast['seconds']:.3f}",
                "sparse Schur ms/element": f"{1e3 * reference['seconds']:.1f}",
                "ratio": f"{reference['seconds'] / fast['seconds']:.0f}",
                "fast MB": f"{fast['megabytes']:.0f}",
                "sparse MB": f"{reference['megabytes']:.0f}",
                "fast, whole matrix s": f"{1024 * fast['seconds']:.2f}",
                "one fine solve s": f"{direct['seconds']:.2f}",
                "largest difference": f"{difference(fast['sample'], reference['sample']):.0e}",
            }


def shared_rows(cases, ells):
    """Yield one line of the table of systems after the other."""
    for n in cases:
        for ell in ells:
            told = child("shared", n, ell)
            yield {
                "fine": f"{32 * n}²",
                "ell": ell,
                "three calls s": f"{told['apart']:.2f}",
                "one system s": f"{told['together']:.2f}",
                "ratio": f"{told['together'] / told['apart']:.2f}",
                "patches held": f"{told['held']} of 1024",
                "MB": f"{told['megabytes']:.0f}",
                "largest difference": f"{told['gap']:.0e}",
            }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, nargs="+", default=[8, 16, 32], help="fine cells along a coarse edge")
    parser.add_argument("--ell", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--markdown", type=Path, help="write the table to this file as well")
    parser.add_argument("--shared", action="store_true", help="one system against three separate calls")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        engine, n, ell = options.measure
        result = measure_shared(int(n), int(ell)) if engine == "shared" else measure(engine, int(n), int(ell))
        result["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(result))
        return
    import torch

    lines = [
        f"CPU time, one thread ({platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}); "
        f"32 × 32 coarse elements, coefficient on 256²; the fast engine's smallest of {REPEATS} runs.",
        "",
    ]
    for number, row in enumerate((shared_rows if options.shared else rows)(options.cases, options.ell)):
        if not number:
            lines += ["| " + " | ".join(row) + " |", "|" + "---:|" * len(row)]
        lines.append("| " + " | ".join(str(value) for value in row.values()) + " |")
        print(*(lines if not number else lines[-1:]), sep="\n", flush=True)
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
