"""A sandbox for the tests; where bubblewrap or namespaces are missing they are skipped, and say why."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ponder.sandbox import Sandbox, missing


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    if missing():
        pytest.skip(missing())
    with Sandbox() as found:
        yield found
