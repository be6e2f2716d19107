"""Experiment: what is repeated, where, what it ended as, and how that is kept."""
