"""What an import does with a row: the values that it stores, and which of two sides wins."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from msgspec import Meta

from kitsu.domain.viewer.list_import.entries import LibraryFields, ListEntry

Policy = Literal["keep", "replace", "newer", "greater"]
POLICY_TEXT = (
    "What to do with an entry that differs from the one in the library. `keep` keeps the library's. `replace` takes "
    "all fields that the file has. `newer` does so if the file's entry was changed later. `greater` takes the further "
    "progress, field by field, and what the library does not have."
)
Outcome = Annotated[
    Literal["added", "updated", "unchanged", "kept_different", "not_imported"],
    Meta(title="ImportOutcome", description="What became of a row."),
]

FIELDS = LibraryFields.__struct_fields__
_DEFAULTS = dict(zip(FIELDS[1:], LibraryFields.__struct_defaults__, strict=True))
_MAX_SHOWN = 20
"""Characters of a value that a remark shows."""


def values_of(entry: ListEntry, episode_count: int | None) -> tuple[dict[str, Any], list[str]]:
    """Return the fields that the file has, within what the anime has, and the remarks on them."""
    values = {name: getattr(entry, name) for name in FIELDS if name not in entry.absent}
    remarks = list(entry.remarks)
    watched = values.get("episodes_watched", 0)
    if not episode_count:
        return values, remarks
    if entry.all_episodes:
        values["episodes_watched"] = episode_count
    elif watched > episode_count:
        values["episodes_watched"] = episode_count
        remarks.append(f"It has {watched:,} watched episodes; {episode_count:,} are all that the anime has.")
    return values, remarks


def decide(entry: ListEntry, values: Mapping[str, Any], old: Any, policy: Policy) -> tuple[Outcome, dict[str, Any]]:
    """Return what becomes of a row, and all fields of the entry if they are to be stored.

    `values` are the fields that the file has, and `old` is the entry of the library or None.
    """
    if old is None:
        return "added", {**_DEFAULTS, **values}
    if not _differing(values, old):
        return "unchanged", {}
    new = _differing(_chosen(entry, values, old, policy), old)
    if not new:
        return "kept_different", {}
    return "updated", {**{name: getattr(old, name) for name in FIELDS}, **new}


def remark_on_kept(values: Mapping[str, Any], old: Any) -> str:
    """Return a sentence about the fields in which the kept entry differs."""
    pairs = (
        f"{name} {_shown(getattr(old, name))} (the file has {_shown(value)})"
        for name, value in _differing(values, old).items()
    )
    return f"The library kept {', '.join(pairs)}."


def _differing(values: Mapping[str, Any], old: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value != getattr(old, name)}


def _chosen(entry: ListEntry, values: Mapping[str, Any], old: Any, policy: Policy) -> Mapping[str, Any]:
    """Return the fields that replace those of the library."""
    if policy == "greater":
        return _further(values, old)
    if policy == "newer":
        changed_at = entry.updated_at or _start_of(entry.completed_on or entry.started_on)
        return values if changed_at is not None and changed_at > old.updated_at else {}
    return values if policy == "replace" else {}


def _further(values: Mapping[str, Any], old: Any) -> dict[str, Any]:
    chosen = {name: values[name] for name in FIELDS if getattr(old, name) is None and name in values}
    for name in ("episodes_watched", "times_rewatched"):
        chosen[name] = max(values.get(name, 0), getattr(old, name))
    repeated, is_again = values.get("times_rewatched", 0), values.get("is_rewatching", False)
    here = _stage(old.status, old.times_rewatched, is_again=old.is_rewatching)
    if _stage(values["status"], repeated, is_again=is_again) > here:
        chosen |= {"status": values["status"], "is_rewatching": is_again}
    return chosen


def _stage(status: str, times_rewatched: int, *, is_again: bool) -> tuple[int, int, bool]:
    """Return how far an anime is watched, for comparison."""
    stage = 2 if status == "completed" or is_again else 0 if status == "plan_to_watch" else 1
    return stage, times_rewatched, is_again


def _start_of(day: str | None) -> datetime | None:
    """Return the start of a day, a month or a year."""
    return datetime.fromisoformat(day + "-01" * (2 - day.count("-"))).replace(tzinfo=UTC) if day else None


def _shown(value: Any) -> str:
    text = "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return f"{text[:_MAX_SHOWN]}…" if len(text) > _MAX_SHOWN else text
