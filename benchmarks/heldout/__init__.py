"""Programs to judge with, and for nothing else: unusual architectures, seeded faults and healthy oddities.

Nothing is tuned, learned or calibrated on them. One module a case, with ``ID``, ``TRUTH`` and ``train``.
"""
