from .field_network import FieldNetwork as FieldNetwork
from .patch_mlp import PatchMLP as PatchMLP
from .place import Place as Place
from .ridge import fit_affine as fit_affine
