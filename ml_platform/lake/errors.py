"""What can be wrong with a table or its log.

Belongs here: the exceptions of the lake. Does not belong here: raising them (store, history).
"""


class LakeError(RuntimeError):
    """A table is missing, or data does not have its table's schema."""


class AlreadyCommittedError(LakeError):
    """Another commit carries one of these transaction ids: nothing was written."""


class GoneError(LakeError):
    """A version of a table, or its commit, that retention has removed; says what is still there."""
