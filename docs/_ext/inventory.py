"""Write ``docs/skfem.inv``, the places of scikit-fem's names in its documentation: ``python docs/_ext/inventory.py``.

Builds are offline, so the inventory is stored. Its names are those that scikit-fem's page "Detailed API description"
has entries for; each is stored under the names that annotations and docstrings give it as well.
"""

import importlib
import inspect
import zlib
from pathlib import Path

import skfem

FILE = Path(__file__).resolve().parents[1] / "skfem.inv"
PAGE = "api.html"
# Module that the entry of the page names: names in it.
ENTRIES = {
    "skfem.mesh": "Mesh MeshTri MeshQuad MeshTet MeshHex MeshLine",
    "skfem.mesh.mesh": "MeshTri1 MeshTri2 MeshQuad1 MeshQuad2 MeshTet1 MeshTet2 MeshHex1 MeshLine1",
    "skfem.assembly": "Basis CellBasis FacetBasis BoundaryFacetBasis InteriorFacetBasis BilinearForm LinearForm "
    "Functional",
    "skfem.utils": "solve condense enforce projection",
    "skfem.helpers": "grad div curl d dd sym_grad dot ddot",
}
HEADER = "# Sphinx inventory version 2\n# Project: scikit-fem\n# Version: {version}\n"
HEADER += "# The remainder of this file is compressed using zlib.\n"


def entries() -> dict[str, tuple[str, str]]:
    """Name -> (role, address), under every name that we have for the object."""
    found: dict[str, tuple[str, str]] = {}
    documented = [(module, name) for module, names in ENTRIES.items() for name in names.split()]
    elements = importlib.import_module("skfem.element")
    documented += [("skfem.element", n) for n, v in vars(elements).items() if n[:7] == "Element" and inspect.isclass(v)]
    for module, name in documented:
        value = getattr(importlib.import_module(module), name, None)
        if value is None:
            continue
        entry = ("class" if inspect.isclass(value) else "function", f"{PAGE}#{module}.{name}")
        aliases = [f"{module}.{name}", f"{value.__module__}.{value.__name__}", f"skfem.{name}"]
        aliases += [name] if entry[0] == "class" else []  # as annotations write it
        for alias in aliases:
            found.setdefault(alias, entry)
    return dict(sorted(found.items()))


def write() -> int:
    """Write the inventory and return how many names it has."""
    lines = [f"{name} py:{role} 1 {address} -\n" for name, (role, address) in entries().items()]
    header = HEADER.format(version=skfem.__version__).encode()
    FILE.write_bytes(header + zlib.compress("".join(lines).encode(), 9))
    return len(lines)


if __name__ == "__main__":
    print(f"{write()} names in {FILE}")
