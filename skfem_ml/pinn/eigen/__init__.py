"""Eigenpairs by networks and by random features."""
