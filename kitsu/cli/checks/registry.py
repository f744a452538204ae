"""The registry of checks: a check is one function with `@check`, in a module that `kitsu.cli.checks` imports."""

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NamedTuple


class Level(IntEnum):
    """How serious a problem is, with Django's numbers."""

    WARNING = 30
    ERROR = 40


class Tag(StrEnum):
    """What a check is about."""

    ACCOUNTS = "accounts"
    BACKUP = "backup"
    DATABASE = "database"
    MAIL = "mail"
    MEDIA = "media"
    SECURITY = "security"
    SETTINGS = "settings"


CheckFunction = Callable[..., Iterable[str] | Awaitable[Iterable[str]]]


@dataclass(frozen=True)
class Check:
    """A registered check."""

    id: str
    tags: frozenset[Tag]
    hint: str  # how to fix the problem; empty if the messages say it
    deploy: bool  # whether it runs only with `--deploy`
    requires: "Check | None"  # must pass first; runs, too, when only this check is selected
    function: CheckFunction

    @property
    def level(self) -> Level:
        return Level.ERROR if self.id.startswith("kitsu.E") else Level.WARNING

    @property
    def resources(self) -> frozenset[str]:
        """Return the names of the function's parameters."""
        return frozenset(inspect.signature(self.function).parameters)


class Finding(NamedTuple):
    """A problem that a check reported."""

    check: Check
    message: str


CHECKS: dict[str, Check] = {}  # all checks by id


def check(
    check_id: str, *tags: Tag, hint: str = "", deploy: bool = False, requires: Check | None = None
) -> Callable[[CheckFunction], Check]:
    """Register a function as a check.

    The letter of the id is the level: E for an error, W for a warning. Its number is never used again. The function
    returns or yields a message for each problem and may be a coroutine function. Its parameters name what it looks at:
    `settings` (Settings), `engine` (AsyncEngine) or `store` (MediaStore).
    """
    if not re.fullmatch(r"kitsu\.[EW][0-9]{3}", check_id) or not tags:
        raise ValueError(f"The check {check_id} needs an id such as kitsu.W001, and a tag.")
    if any(other[-3:] == check_id[-3:] for other in CHECKS):
        raise ValueError(f"The number of {check_id} is taken.")

    def register(function: CheckFunction) -> Check:
        CHECKS[check_id] = Check(check_id, frozenset(tags), hint, deploy, requires, function)
        return CHECKS[check_id]

    return register


async def run(checks: Iterable[Check], **resources: object) -> list[Finding]:
    """Run the checks, and those that they require, once each. A check whose required check fails is skipped."""
    findings: list[Finding] = []
    passed: dict[Check, bool] = {}

    async def passes(each: Check) -> bool:
        if each not in passed:
            passed[each] = each.requires is None or await passes(each.requires)
            if passed[each]:
                found = each.function(**{name: resources[name] for name in each.resources})
                messages = list(await found if inspect.isawaitable(found) else found)
                findings.extend(Finding(each, message) for message in messages)
                passed[each] = not messages
        return passed[each]

    for each in checks:
        await passes(each)
    return findings
