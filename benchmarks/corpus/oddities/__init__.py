"""Unusual habits that do no harm."""
