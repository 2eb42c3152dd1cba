"""Demos: each a module with the mathematics, a computation, a picture (``visualize``) and a test."""
