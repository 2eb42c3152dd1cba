from .method import SLOD as SLOD
from .system import SLODSystem as SLODSystem
