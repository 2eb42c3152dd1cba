"""Physics-informed learners: networks and random features with hard boundary data, strong and weak; eigen-networks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
