"""Data of the corpus: real tables and text that ship with packages, and structured synthetic worlds."""
