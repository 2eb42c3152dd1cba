"""What was made last, within a bound of memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from torch import Tensor

Tensors = TypeVar("Tensors", bound=tuple[Tensor, ...])


class Recent(Generic[Tensors]):
    """Tuples of tensors by number, at most ``limit`` bytes of them; what was not asked for longest goes first."""

    def __init__(self, limit: int):
        self.limit, self._bytes = limit, 0
        self._held: OrderedDict[int, Tensors] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, number: int, make: Callable[[], Tensors]) -> Tensors:
        """What is held of that number, or is made now; two threads may make it at once, and it is the same."""
        with self._lock:
            if number in self._held:
                self._held.move_to_end(number)
                return self._held[number]
        made = make()
        with self._lock:
            if number not in self._held:
                self._held[number] = made
                self._bytes += _size(made)
            while self._bytes > self.limit and len(self._held) > 1:
                self._bytes -= _size(self._held.popitem(last=False)[1])
        return made


def _size(tensors: tuple[Tensor, ...]) -> int:
    return sum(tensor.element_size() * tensor.numel() for tensor in tensors)
