"""A twenty-fourth round of programs by people who had not seen how the engine works; those of one re-enact reported bugs."""
