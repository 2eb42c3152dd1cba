"""What a form, a local map or a network is made of, as a hash that another process finds again.

An address (as in the repr of a form) is of no use there, and a name alone is not enough: a function is known by its
code, its constants and what it takes from outside; arrays and weights by their bytes; objects by their class and what
they hold. What is known by none of these is refused.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

Found = Iterator[tuple[str, object]]
PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), Path, torch.dtype, torch.device, np.dtype)
NAMED = (type, types.ModuleType, types.BuiltinFunctionType, np.ufunc)
# Known by name: their code changes with their version, which is not our caller's to change between two runs.
LIBRARIES = {"skfem_ml", "skfem", "numpy", "scipy", "torch", *sys.stdlib_module_names} - {"__main__"}


def identity(*values: object) -> str:
    """sha256 of what some values are made of: the same in every process, another for other code, numbers or weights.

    Raises TypeError for what is known by its address alone (locks, generators, objects of C), naming where it lies.
    """
    return _digest(values, "", ())


def _digest(value: object, where: str, above: tuple[object, ...]) -> str:
    total = hashlib.sha256(f"{type(value).__module__}.{type(value).__qualname__}".encode())
    if any(value is one for one in above):  # a function that calls itself
        return "above"
    if isinstance(value, PLAIN):
        total.update(repr(value).encode())
    elif isinstance(value, NAMED):
        total.update(_name(value).encode())
        value = _methods(value) if isinstance(value, type) else {}
    elif isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray | np.generic) and value.dtype != object:
        total.update(f"{value.dtype} {value.shape} ".encode() + np.ascontiguousarray(value).tobytes())
        return total.hexdigest()
    ordered = not isinstance(value, set | frozenset)
    parts = [f"{name} {_digest(part, f'{where}.{name}', (*above, value))}" for name, part in _parts(value, where)]
    total.update("\n".join(parts if ordered else sorted(parts)).encode())
    return total.hexdigest()


def _parts(value: object, where: str) -> Found:
    """The parts of a value and their names. Raises TypeError where there is no way to see them."""
    if isinstance(value, PLAIN):
        return
    if isinstance(value, Mapping) and all(isinstance(key, str | int | tuple) for key in value):
        yield from sorted((repr(key), part) for key, part in value.items())
    elif isinstance(value, list | tuple):
        yield from ((str(number), part) for number, part in enumerate(value))
    elif isinstance(value, set | frozenset):
        yield from (("", part) for part in value)
    elif isinstance(value, types.FunctionType):
        yield from _function(value)
    elif isinstance(value, types.CodeType):
        yield from (("code", value.co_code), ("constants", value.co_consts), ("names", value.co_names))
    elif isinstance(value, types.MethodType):
        yield from (("function", value.__func__), ("self", value.__self__))
    elif isinstance(value, functools.partial):
        yield from (("function", value.func), ("args", value.args), ("keywords", value.keywords))
    elif isinstance(value, torch.nn.Module):
        yield from value.named_parameters()
        yield from value.named_buffers()
        yield from ((name, vars(module)) for name, module in value.named_modules())
    elif hasattr(value, "__dict__"):
        yield "class", type(value)
        yield from sorted((name, part) for name, part in vars(value).items() if not _cached(value, name))
    else:
        raise TypeError(
            f"folder: expected a form or local map that another process can know again, by code and numbers, got "
            f"{type(value).__name__} at {where.strip('.') or 'its top'}; leave folder out, or take that out of it"
        )


def _function(function: types.FunctionType) -> Found:
    """Code, defaults, what is bound, and of a user's function the globals that it names."""
    yield "name", f"{function.__module__}.{function.__qualname__}"
    yield "code", function.__code__
    yield "defaults", (function.__defaults__, function.__kwdefaults__)
    yield "bound", tuple(cell.cell_contents for cell in function.__closure__ or ())
    if not _of_library(function.__module__):
        names = sorted(_names(function.__code__) & set(function.__globals__))
        yield from ((name, function.__globals__[name]) for name in names)


def _names(code: types.CodeType) -> set[str]:
    inner = [_names(part) for part in code.co_consts if isinstance(part, types.CodeType)]
    return set(code.co_names).union(*inner)


def _methods(kind: type) -> dict[str, object]:
    """The functions and constants of a user's class, by name."""
    own = [one for one in kind.__mro__ if not _of_library(one.__module__)]
    return {
        f"{number}.{name}": part
        for number, one in enumerate(own)
        for name, part in vars(one).items()
        if isinstance(part, (types.FunctionType, float, int, np.ndarray))
    }


def _name(value: object) -> str:
    module = getattr(value, "__module__", None)
    return f"{module}.{getattr(value, '__qualname__', getattr(value, '__name__', ''))}"


def _of_library(module: str | None) -> bool:
    return (module or "").partition(".")[0] in LIBRARIES


def _cached(value: object, name: str) -> bool:
    """Whether an attribute is what was computed of the others when it was first asked for."""
    return isinstance(getattr(type(value), name, None), functools.cached_property)
