"""Other tools run on the same cases, and a rule baseline of our own, scored generously."""
