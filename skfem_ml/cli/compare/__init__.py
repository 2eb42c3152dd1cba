"""``skfem-ml compare WHAT``: one file a problem; `run.run_comparison` runs them all."""
