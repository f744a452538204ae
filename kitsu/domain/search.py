"""Search: what a search text has to be like."""

from kitsu.errors import BadRequest

MIN_LENGTH = 2
MAX_LENGTH = 255
"""No title is longer."""


def search_text(q: str | None) -> str:
    """What to search for, without the white space around it. Raises BadRequest without one, or of a wrong length."""
    text = (q or "").strip()
    if len(text) < MIN_LENGTH:
        raise BadRequest(f"Search query must have at least {MIN_LENGTH} characters")
    if len(text) > MAX_LENGTH:
        raise BadRequest(f"Search query must have at most {MAX_LENGTH} characters")
    return text
