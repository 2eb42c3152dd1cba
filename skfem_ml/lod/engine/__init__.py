"""Engines: who solves the corrector problems."""
