"""One system by blocks, whichever process makes it; run by itself, a driver that is killed on the way."""

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
from skfem import MeshQuad

from skfem_ml.lod import LOD
from skfem_ml.lod.blocks import BlockSystem, local_client
from skfem_ml.problems import diffusion

COARSE, BLOCKS = 12, 12


def field(x):
    return 2 + np.sin(40 * x[0]) * np.cos(30 * x[1] + x[0])


def system(folder=None, client=None, progress=False, form=diffusion, rows=1, **coefficients):
    lod = LOD(MeshQuad.init_tensor(*[np.linspace(0, 1, COARSE + 1)] * 2), refine=8, progress=progress)
    return BlockSystem(lod, form, rows=rows, folder=folder, client=client, **(coefficients or {"a": field}))


def files(folder):
    return sorted(Path(folder).glob("block-*.safetensors"))


def drive(folder, seed):
    """Compute on a worker of its own, and be killed by -9 at a moment that the seed draws."""
    draw = random.Random(seed)
    count, later = draw.randrange(1, BLOCKS - 2), draw.random() / 10

    def kill():
        while len(files(folder)) < count:
            time.sleep(0.001)
        time.sleep(later)
        os.kill(os.getpid(), signal.SIGKILL)

    with local_client(1) as client:
        print(*client.run(os.getpid).values(), flush=True)
        threading.Thread(target=kill, daemon=True).start()
        system(folder, client).compute()
    print("came to its end", flush=True)


if __name__ == "__main__":
    drive(sys.argv[1], int(sys.argv[2]))
