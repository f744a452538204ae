"""Fields that several Structs on the wire have, and how fields are described in the API description."""

from typing import Annotated, Any

from msgspec import Meta

VISIBLE = (
    r"[^\s\x00-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202f"
    r"\u205f-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb]"
)
"""The pattern of a text that has a character which readers can see."""


def described(text: str, *examples: Any, **limits: Any) -> Meta:
    """Return the description, the examples and the limits of a field."""
    return Meta(description=text, examples=list(examples) or None, **limits)


Version = Annotated[int, described('Grows with each change. The `ETag` is `"<id>.<version>"`.', 3)]
Position = Annotated[int, described("The position in seconds.", 431)]
EpisodeNumber = Annotated[int, described("The number of the episode in its release.", 7)]
