"""Tests of leases: who has one alone, who shares it, and that nothing which takes several waits for itself.

Belongs here: taking turns. Does not belong here: what is done in turn.
"""

from pathlib import Path

import pytest

from ml_platform.lake import LakeError
from ml_platform.lake.leases import leased


def test_several_share_a_lease_and_none_has_it_alone_meanwhile(tmp_path: Path) -> None:
    root = str(tmp_path)
    with leased(root, "erase", shared=True), leased(root, "erase", wait=False, shared=True):
        with pytest.raises(LakeError, match="erase is at work on"), leased(root, "erase", wait=False):
            pass
        with leased(root, "another", wait=False):
            pass
    with leased(root, "erase", wait=False):
        pass


def test_beside_one_who_has_it_alone_nobody_shares_it(tmp_path: Path) -> None:
    root = str(tmp_path)
    with leased(root, "erase"):
        for shared in (True, False):
            with (
                pytest.raises(LakeError, match="erase is at work on"),
                leased(root, "erase", wait=False, shared=shared),
            ):
                pass
