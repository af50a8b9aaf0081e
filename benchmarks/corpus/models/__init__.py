"""The architectures of the corpus; each says with ``sites`` where a fault can sit."""
