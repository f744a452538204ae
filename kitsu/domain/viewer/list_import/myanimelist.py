"""The rows of MyAnimeList's export, as that site and others write it."""

from collections.abc import Mapping

from kitsu.domain.viewer.library import Status
from kitsu.domain.viewer.list_import.entries import EntryError, ListEntry, NotImported
from kitsu.domain.viewer.list_import.myanimelist_xml import MAX_TEXT
from kitsu.domain.viewer.list_import.rows import Row
from kitsu.domain.viewer.list_import.values import MANGA, first_title, is_manga, read_id, text_of_html

STATUS_WORDS: dict[Status, str] = {
    "watching": "Watching",
    "completed": "Completed",
    "on_hold": "On-Hold",
    "dropped": "Dropped",
    "plan_to_watch": "Plan to Watch",
}
# Converters write the numbers of MyAnimeList's API.
_NUMBERS = dict(zip("12346", STATUS_WORDS.values(), strict=True))


def read_entry(number: int, fields: Mapping[str, str]) -> ListEntry | NotImported:
    """Return the entry of a row."""
    title = first_title(fields.get("series_title"), fields.get("manga_title"))
    try:
        return _entry(number, title, fields)
    except EntryError as error:
        return NotImported(number, title or None, str(error), None)


def _entry(number: int, title: str, fields: Mapping[str, str]) -> ListEntry:
    if "manga_mangadb_id" in fields or is_manga(fields.get("series_type")):
        raise EntryError(MANGA)
    overlong = next((name for name, text in fields.items() if len(text) > MAX_TEXT), None)
    if overlong:
        raise EntryError(f"Its `{overlong}` is longer than {MAX_TEXT:,} characters.")
    anime_id = read_id(fields.get("series_animedb_id"))
    if not anime_id:
        raise EntryError("It has no MyAnimeList id.")
    row = Row({**fields, "my_comments": text_of_html(fields["my_comments"])} if "my_comments" in fields else fields)
    # Shikimori's own word says more than the one that it writes for MyAnimeList.
    word = fields.get("shiki_status", "").strip() or fields.get("my_status", "").strip()
    row.status(_NUMBERS.get(word, word))
    row.rewatching("my_rewatching")
    row.score("my_score")
    row.text("notes", "my_comments")
    row.text("tags", "my_tags")
    row.count("episodes_watched", "my_watched_episodes")
    row.count("times_rewatched", "my_times_watched")
    row.date("started_on", "my_start_date")
    row.date("completed_on", "my_finish_date")
    return row.entry(number, title, [("myanimelist", anime_id)], updated_at=fields.get("my_last_updated"))
