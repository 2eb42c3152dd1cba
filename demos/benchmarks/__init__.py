"""Scripts that measure and write tables."""
