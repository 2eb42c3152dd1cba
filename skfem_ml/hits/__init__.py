"""Hierarchical neural time-steppers: flow maps of many step sizes, coupled, hybrid with classical ones."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
