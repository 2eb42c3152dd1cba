"""What is said of errors, calibrated on fields of their own: promises that hold for nine fresh fields of ten."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
