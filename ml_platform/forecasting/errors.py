"""Errors of tables.

Belongs here: what a table is refused with. Does not belong here: errors of configurations (config).
"""


class InputError(ValueError):
    """A table that cannot be forecast; names the table, an example and the way out."""
