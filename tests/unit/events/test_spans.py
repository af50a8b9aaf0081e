"""Masks over time become spans; the picture is the input."""

import numpy as np
import pytest

from neuraldbg.events.spans import lasting, lasting_spans


def mask(picture: str) -> np.ndarray:
    return np.array([mark == "#" for mark in picture], dtype=bool)


@pytest.mark.parametrize(
    ("picture", "patience", "expected"),
    [
        pytest.param("", 1, [], id="no steps"),
        pytest.param("....", 1, [], id="never abnormal"),
        pytest.param("####", 4, [(0, 4)], id="abnormal throughout"),
        pytest.param(".##.", 3, [], id="too short to count"),
        pytest.param("##.###", 2, [(0, 2), (3, 6)], id="a gap separates two spans"),
        pytest.param("#.#.#", 2, [], id="flapping is not a regime"),
        pytest.param("...##", 2, [(3, 5)], id="a span may touch the end"),
    ],
)
def test_lasting_spans(picture: str, patience: int, expected: list[tuple[int, int]]) -> None:
    assert lasting_spans(mask(picture), patience) == expected


@pytest.mark.parametrize(
    ("picture", "patience", "expected"),
    [
        pytest.param("#.##.###", 3, ".....###", id="short runs are dropped"),
        pytest.param("#.#", 1, "#.#", id="patience of one keeps everything"),
        pytest.param("##", 8, "##", id="a short series is judged as a whole"),
        pytest.param("#.", 8, "..", id="a short series with a gap does not count"),
        pytest.param("", 4, "", id="no steps"),
    ],
)
def test_lasting(picture: str, patience: int, expected: str) -> None:
    assert lasting(mask(picture), patience).tolist() == mask(expected).tolist()


def test_each_column_is_judged_by_itself() -> None:
    two = np.stack([mask("##.."), mask("#.#.")], axis=1)
    assert lasting(two, 2).tolist() == np.stack([mask("##.."), mask("....")], axis=1).tolist()


def test_the_mask_given_is_not_changed() -> None:
    given = mask("#.##")
    before = given.copy()
    lasting(given, 2)
    lasting(given, 1)[0] = False
    assert given.tolist() == before.tolist()
