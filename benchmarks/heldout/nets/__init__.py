"""Architectures unlike the usual ones, each with a small task and a healthy program."""
