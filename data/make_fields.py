"""Make the fields that the package ships, and their manifest: ``python data/make_fields.py`` where it is installed."""

import hashlib
import json
from pathlib import Path

import numpy as np

from skfem_ml.cli.cases import SHIPPED, drawn_field

SEED = 2
FOLDER = Path(__file__).parents[1] / "skfem_ml" / "fields"

if __name__ == "__main__":
    np.save(FOLDER / SHIPPED, drawn_field(SEED), allow_pickle=False)
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(FOLDER.glob("*.np[yz]"))}
    (FOLDER / "manifest.json").write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")
