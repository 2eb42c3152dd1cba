from .field_network import FieldNetwork as FieldNetwork
from .local_network import Certified as Certified
from .local_network import LocalNetwork as LocalNetwork
from .patch_mlp import PatchMLP as PatchMLP
from .ridge import fit_affine as fit_affine
