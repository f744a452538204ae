"""The registry of checks: ids, levels, required checks, and the table of deploy/README.md."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kitsu.cli.checks.registry import CHECKS, Check, Level, Tag, check, run

README = Path(__file__).parents[2] / "deploy" / "README.md"


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """Remove the checks of a test afterwards."""
    before = dict(CHECKS)
    yield
    CHECKS.clear()
    CHECKS.update(before)


def test_readme_lists_every_check() -> None:
    rows = re.findall(r"^\| `(kitsu\.\w+)` \| ([a-z, ]+) \| (yes|no) \| .+ \|$", README.read_text(), re.MULTILINE)
    listed = [(check_id, set(tags.split(", ")), deploy == "yes") for check_id, tags, deploy in rows]
    assert listed == [
        (each.id, set(each.tags), each.deploy) for each in sorted(CHECKS.values(), key=lambda c: c.id[-3:])
    ]


def test_check_with_taken_number_is_refused() -> None:
    assert len({check_id[-3:] for check_id in CHECKS}) == len(CHECKS)
    for taken in ("kitsu.W001", "kitsu.E001"):
        with pytest.raises(ValueError, match="is taken"):
            check(taken, Tag.SETTINGS)


@pytest.mark.parametrize("check_id", ["W901", "kitsu.W1", "kitsu.X901", "kitsu.W9011"])
def test_malformed_id_is_refused(check_id: str) -> None:
    with pytest.raises(ValueError, match="needs an id"):
        check(check_id, Tag.SETTINGS)
    with pytest.raises(ValueError, match="and a tag"):
        check("kitsu.W901")


def test_letter_of_id_is_level() -> None:
    assert {each.id[6]: each.level for each in CHECKS.values()} == {"E": Level.ERROR, "W": Level.WARNING}


def test_every_parameter_is_a_resource() -> None:
    for each in CHECKS.values():
        assert each.resources <= {"settings", "engine", "store"}, each.id


async def test_check_after_failed_required_check_is_skipped() -> None:
    calls = []

    def add(number: int, requires: Check | None, *messages: str) -> Check:
        def function() -> Iterator[str]:
            calls.append(number)
            yield from messages

        return check(f"kitsu.W{number}", Tag.SETTINGS, requires=requires)(function)

    first = add(901, None, "wrong")
    last = add(903, add(902, first))
    findings = await run([last, last])
    assert [(finding.check, finding.message) for finding in findings] == [(first, "wrong")]
    assert calls == [901]
    assert await run([add(904, None)]) == []
