"""A fourteenth round of programs by people who had not seen how the engine works."""
