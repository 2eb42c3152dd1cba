"""``skfem-ml train WHAT``: one file a kind of network; `run.run_training` runs them all."""
