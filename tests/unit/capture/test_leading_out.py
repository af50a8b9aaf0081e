"""Which layers of a part feed others."""

import pytest

from neuraldbg.capture.topology import leading_out

EDGES = [(0, 1), (1, 2), (4, 2), (5, 6), (2, 3)]


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ({0, 1, 5, 6}, {0, 1}),
        ({5, 6}, set()),
        ({0, 1, 2, 3}, set()),
        ({1, 4}, {1, 4}),
        (set(), set()),
    ],
    ids=["directly and through others", "to itself only", "to nothing", "two ways", "nothing"],
)
def test_what_feeds_layers_outside_of_a_part_leads_out_of_it(part, found) -> None:
    assert leading_out(part, EDGES) == found
