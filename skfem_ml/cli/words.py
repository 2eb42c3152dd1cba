"""Messages of the library in the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Arguments of the library that have another name on the command line.
ALSO = {"load": "f", "matrix": "A", "pairs": "k"}
LIST = r"[A-Za-z_]+(, [A-Za-z_]+)*"
CALL = re.compile(r"(\w+\([^()]*\))")
VALUE = r"(?P<quote>['\"]?)(?P<value>[\w.-]+)(?P=quote)"


def translated(message: str, options: Mapping[str, str]) -> str:
    """A message of the library for a command whose options are name -> ``--name``; calls of Python stay as they are.

    >>> translated("a.vtu: choose one by name=: k, phi", {"name": "--name"})
    'a.vtu: choose one by --name: k, phi'
    >>> translated("low, high: expected 0 < low <= high", {"low": "--low", "high": "--high"})
    '--low, --high: expected 0 < low <= high'
    >>> translated('take ell=3 or variant="galerkin"', {"ell": "--ell", "variant": "--variant"})
    'take --ell 3 or --variant galerkin'
    """
    names = {**options, **{ALSO[name]: option for name, option in options.items() if name in ALSO}}
    # What a message is about stands before its colon; elsewhere a list of names is meant, not a word of English.
    message = re.sub(rf"^{LIST}(?=: )", lambda head: _renamed(head.group(), names, 1), message)
    parts = CALL.split(message)
    return "".join(part if k % 2 else _outside(part, names) for k, part in enumerate(parts))


def _outside(text: str, names: Mapping[str, str]) -> str:
    """Translate what is no call."""
    text = re.sub(rf"\b{LIST} and [a-z_]+\b", lambda part: _renamed(part.group(), names, 2), text)
    if "galerkin" in names and "variant" not in names:
        text = text.replace('variant="galerkin"', names["galerkin"])
    for name, option in names.items():
        keyword = rf"(?<![\w'\"/.-]){name}=(?!=)"
        text = re.sub(rf"{keyword}True\b", option, text)
        text = re.sub(rf"{keyword}{VALUE}", rf"{option} \g<value>", text)
        text = re.sub(keyword, option, text)
    return text


def _renamed(text: str, names: Mapping[str, str], least: int) -> str:
    """A list of names as options, where at least so many of them are some."""
    if sum(word in names for word in re.findall("[A-Za-z_]+", text)) < least:
        return text
    return re.sub("[A-Za-z_]+", lambda word: names.get(word.group(), word.group()), text)
