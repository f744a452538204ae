"""GET /search/suggest: the titles that match, from the first letters on."""

from typing import Any

import httpx
import pytest
from sqlalchemy.engine import URL

from tests.application import client_of
from tests.assertions import assert_error
from tests.factories import add

PATH = "/search/suggest"


async def suggest(client: httpx.AsyncClient, q: str) -> list[dict[str, Any]]:
    response = await client.get(PATH, params={"q": q})
    assert response.status_code == 200, response.text[:200]
    return list(response.json())


async def test_suggestion_has_the_matching_title(reader: httpx.AsyncClient) -> None:
    (first, *_) = await suggest(reader, "attack on ti")
    assert first == {
        "id": first["id"],
        "title": "Shingeki no Kyojin",
        "matched": "Attack on Titan",
        "year": 2013,
        "type": "TV",
        "poster": None,
    }


@pytest.mark.parametrize(
    ("q", "matched"),
    [
        *(
            ("de", "Death Note"),
            ("st", "Steins;Gate"),
            ("進", "進撃の巨人"),
            ("巨人", "進撃の巨人"),
            ("デ", "デスノート"),
        ),
        *(("で", "デスノート"), ("\uff85", "ナルト"), ("ナ", "ナルト"), ("ィカル", "ドラマティカルマーダー")),
        *(
            ("evangelin", "Neon Genesis Evangelion"),
            ("totoro", "Tonari no Totoro"),
            ("hero academ", "My Hero Academia"),
        ),
    ],
)
async def test_first_letters_suggest_titles(reader: httpx.AsyncClient, q: str, matched: str) -> None:
    assert matched in [each["matched"] for each in await suggest(reader, q)]


async def test_suggestions_have_the_order_of_the_search(reader: httpx.AsyncClient) -> None:
    for q in ("no", "mo", "titan", "kimetus"):
        searched = (await reader.get("/search/anime", params={"q": q, "limit": 10})).json()
        assert [each["id"] for each in await suggest(reader, q)] == [each["id"] for each in searched] != []


async def test_at_most_ten_are_suggested(database: URL) -> None:
    await add(database, "anime", *({"title": f"Nova {number}"} for number in range(12)))
    async with client_of(database) as client:
        assert len(await suggest(client, "no")) == 10


@pytest.mark.parametrize("q", ["", "a", " a ", "é", "я", "★"])
async def test_one_letter_of_another_script_returns_400(reader: httpx.AsyncClient, q: str) -> None:
    assert_error(await reader.get(PATH, params={"q": q}), 400, "Search query must have at least 2 characters")


@pytest.mark.parametrize("q", ["x" * 201, "a\0b"])
async def test_long_text_and_nul_are_refused(reader: httpx.AsyncClient, q: str) -> None:
    assert_error(await reader.get(PATH, params={"q": q}), 422)
