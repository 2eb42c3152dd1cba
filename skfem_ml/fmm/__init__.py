"""H2-matrices on points and finite element nodes, and networks on their graph (``fmm.networks``, which need torch)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
