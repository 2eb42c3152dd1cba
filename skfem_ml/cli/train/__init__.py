"""``skfem-ml train WHAT``: one file a kind of network."""
