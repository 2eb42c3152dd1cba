"""The meshes of an LOD: the grid behind coarse and fine cells, patches, boundary, interpolation, forms."""
