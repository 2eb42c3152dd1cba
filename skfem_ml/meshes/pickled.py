"""Forms of scikit-fem in pickles: a decorated form by its place, as a function is.

A decorated form hides the function of its name, so that pickle looks for the function, finds the form and refuses. The
reducer below, which `copyreg` calls for every `BilinearForm` and `LinearForm`, writes module and name where the form
itself is found there, and else (a form made in a function) what pickle does by default. The copy is a form of its own
with the same function.
"""

from __future__ import annotations

import copyreg
import sys
from collections.abc import Mapping
from functools import reduce
from importlib import import_module
from typing import TypeAlias

from skfem import BilinearForm, LinearForm

Form: TypeAlias = BilinearForm | LinearForm


def reduced(form: Form) -> tuple | str:
    """What pickle writes of a form."""
    function = form.form
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    # A script is no module to another process but a spawned one: cloudpickle, and so joblib, send its functions whole.
    whole = module == "__main__" and sys._getframe(1).f_globals.get("__name__", "").endswith("cloudpickle")
    found = None if module is None or whole else _found(sys.modules.get(module), name)
    if type(found) is not type(form) or getattr(found, "form", None) is not function:
        return form.__reduce_ex__(4)
    rest = {key: value for key, value in vars(form).items() if key != "form"}
    return _made_again, (type(form), module, name, rest)


def _made_again(kind: type[Form], module: str, name: str, rest: Mapping[str, object]) -> Form:
    found = _found(import_module(module), name)
    if not isinstance(found, BilinearForm | LinearForm):
        raise AttributeError(f"{module}.{name}: expected a form of scikit-fem, got {type(found).__name__}")
    form: Form = object.__new__(kind)
    form.__dict__.update(rest, form=found.form)
    return form


def _found(start: object, name: str) -> object:
    return reduce(lambda place, part: getattr(place, part, None), name.split("."), start)


for kind in (BilinearForm, LinearForm):
    copyreg.pickle(kind, reduced)
