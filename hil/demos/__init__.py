"""Demonstrations: what strikes do to something that a person can judge, with and without a protection."""
