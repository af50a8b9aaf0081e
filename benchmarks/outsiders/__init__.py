"""Programs written by people who had not seen how the engine works: faults, their fixes, and healthy oddities."""
