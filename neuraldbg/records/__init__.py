"""Frozen values that flow from stage to stage; standard library and NumPy only."""
