"""For every test of this folder."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_bugs_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What the library contains and logs as its own bug fails the test."""
    yield
    bugs = [record for record in caplog.get_records("call") if "bug in quorate" in record.getMessage()]
    assert not bugs, bugs[0].getMessage()
