"""Networks on the graph of an H2-matrix product, and their training (needs torch)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
