"""Fault injection: ordinary programs of many families, faults put into them, and twins without."""
