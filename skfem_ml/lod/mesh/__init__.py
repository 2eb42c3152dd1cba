"""The meshes of an LOD: coarse and fine cells, patches, interpolation, forms; grids and boundaries are in `meshes`."""
