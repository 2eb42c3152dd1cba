"""``skfem-ml compare WHAT``: one file a kind of problem."""
