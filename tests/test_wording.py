"""The wording check of `make check`."""

import pytest

from scripts.wording import subject_problems, text_problems


@pytest.mark.parametrize("text", ["It is n_one.", "A lock that no_body holds", "Started a_new"])
def test_forbidden_words_are_reported_with_place_and_advice(text: str) -> None:
    # The underscores hide the samples from the check.
    (problem,) = text_problems("README.md", f"First line\n{text.replace('_', '')}\n")
    assert problem.startswith("README.md:2: ")


def test_python_none_and_parts_of_words_are_allowed() -> None:
    assert list(text_problems("a.py", "if value is None and until or still:\n")) == []


def test_subject_over_72_characters_is_reported() -> None:
    assert list(subject_problems("abc", "x" * 72)) == []
    assert len(list(subject_problems("abc", "x" * 73))) == 1
