"""Tournaments: many schedulers on the same windows of the same jobs, compared."""
