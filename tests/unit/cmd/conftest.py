# SPDX-License-Identifier: Apache-2.0
import pytest

from nova_kvs.inspection import fsck


@pytest.fixture(autouse=True)
def no_margin(monkeypatch):
    """Let fsck wait no longer than it must."""
    monkeypatch.setattr(fsck, "_MARGIN_MS", 0)
