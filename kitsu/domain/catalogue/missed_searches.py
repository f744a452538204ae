"""Searches without a result: what viewers look for and the catalogue does not have."""

from sqlalchemy import Text, bindparam, func, literal_column, or_, select
from sqlalchemy.dialects.postgresql import insert

from kitsu.db.models import MissedSearch
from kitsu.db.statements import StatementRunner

MAX_CHARACTERS = 100
MAX_PER_DAY = 10_000
"""Texts that are stored for a day: random ones must not fill the disk."""

_text = bindparam("text", type_=Text)
_is_today = MissedSearch.day == func.current_date()
_today = select(literal_column("1")).where(_is_today).limit(MAX_PER_DAY).subquery()
_is_full = select(func.count()).select_from(_today).scalar_subquery() >= MAX_PER_DAY
_is_known = select(MissedSearch.day).where(_is_today, MissedSearch.query == _text).exists()
_NOTE = (
    insert(MissedSearch)
    .from_select(["day", "query"], select(func.current_date(), _text).where(or_(~_is_full, _is_known)))
    .on_conflict_do_update(
        index_elements=[MissedSearch.day, MissedSearch.query], set_={"count": MissedSearch.count + 1}
    )
)


class MissedSearches:
    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner

    async def note(self, text: str) -> None:
        """Count a search without a result."""
        await self._runner.write(_NOTE, {"text": " ".join(text.lower().split())[:MAX_CHARACTERS]})
