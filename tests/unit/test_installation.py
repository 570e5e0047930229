"""Names that fit into host, network and folder names, and no others."""

from __future__ import annotations

import pytest

from holdfast.installation import BadName, Installation


@pytest.mark.parametrize("name", ["local", "a", "acme-2", "a23456789012345x"])
def test_good_names(name: str) -> None:
    assert Installation(name).domain == f"{name}.holdfast.test"


@pytest.mark.parametrize(
    "name", ["", "2nd", "-a", "a-", "A", "a_b", "a.b", "../etc", "a/b", "a2345678901234567", "ä"]
)
def test_bad_names_say_what_would_be_good(name: str) -> None:
    with pytest.raises(BadName, match="use 1 to 16 of a-z, 0-9 and -"):
        Installation(name)
