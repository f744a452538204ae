"""GET /search/anime: matches, their order, and refused texts."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import URL

from tests.application import client_of
from tests.assertions import pages
from tests.controllers.catalogue.test_anime import LIST_FIELDS
from tests.databases import copy_of
from tests.factories import add
from tests.web.test_errors import send

PATH = "/search/anime"
PERCENT = "\uff05"  # a full-width percent sign
WIDE = "\uff37\uff29\uff24\uff25"  # WIDE in full-width letters
TOO_SHORT = "Search query must have at least 2 characters"
TOO_LONG = "Search query must have at most 255 characters"
NOW = datetime.now(UTC)

SHELF: list[dict[str, Any]] = [
    {"title": "Café Résumé", "synonyms": ["Naïve coffee"]},
    {"title": "Cafe Noir"},
    {"title": "ЁЛКА зелёная", "title_original": "Новогодняя история", "synonyms": ["ЙОГА"]},
    {"title": "Hidden", "title_original": "進撃の巨人", "synonyms": ["ガンダム", "Der Große"]},
    {"title": f"{WIDE} screen"},
    {"title": "Sale 100% off"},
    {"title": f"Sale 50{PERCENT} off"},
    {"title": "Sale 100 off"},
    {"title": "snake_case"},
    {"title": "snakeXcase"},
    {"title": "back\\slash"},
    {"title": "backslash"},
    {"title": "'; DROP TABLE anime; --"},
    {"title": "QZ"},
    {"title": "Decomposed e\u0301tude"},
]

FOUND: list[tuple[str, set[str]]] = [
    # any part of any title
    ("résum", {"Café Résumé"}),
    ("oir", {"Cafe Noir"}),
    ("новогодн", {"ЁЛКА зелёная"}),
    ("coffee", {"Café Résumé"}),
    ("coffee ca", set()),
    # case and accents, both ways, in several scripts
    ("CAFE", {"Café Résumé", "Cafe Noir"}),
    ("cafÉ", {"Café Résumé", "Cafe Noir"}),
    ("cafe\u0301", {"Café Résumé", "Cafe Noir"}),
    ("naive", {"Café Résumé"}),
    ("NAÏVE", {"Café Résumé"}),
    ("etude", {"Decomposed e\u0301tude"}),
    ("étude", {"Decomposed e\u0301tude"}),
    ("ёлка", {"ЁЛКА зелёная"}),
    ("елка", {"ЁЛКА зелёная"}),
    ("ЗЕЛЕНАЯ", {"ЁЛКА зелёная"}),
    ("ЗЕЛЁНАЯ", {"ЁЛКА зелёная"}),
    ("йога", {"ЁЛКА зелёная"}),
    ("GROSSE", {"Hidden"}),
    ("große", {"Hidden"}),
    # Japanese, and letters of another width
    ("進撃", {"Hidden"}),
    ("撃の巨", {"Hidden"}),
    ("ガンダ", {"Hidden"}),
    ("\uff76\uff9e\uff9d", {"Hidden"}),
    ("wide", {f"{WIDE} screen"}),
    (WIDE.lower(), {f"{WIDE} screen"}),
    ("\uff43\uff41\uff46\uff45", {"Café Résumé", "Cafe Noir"}),
    # wildcards and quotes are letters, also in searches too short for the index
    ("100%", {"Sale 100% off"}),
    ("0%", {"Sale 100% off", f"Sale 50{PERCENT} off"}),
    (f"0{PERCENT}", {"Sale 100% off", f"Sale 50{PERCENT} off"}),
    ("100 off", {"Sale 100 off"}),
    ("100%off", set()),
    ("%%", set()),
    (f"{PERCENT}{PERCENT}{PERCENT}", set()),
    ("snake_", {"snake_case"}),
    ("e_", {"snake_case"}),
    ("__", set()),
    ("___", set()),
    ("back\\", {"back\\slash"}),
    ("k\\", {"back\\slash"}),
    ("back\\slash", {"back\\slash"}),
    ("\\\\", set()),
    ("'; DROP TABLE anime; --", {"'; DROP TABLE anime; --"}),
    # white space around the text is ignored
    ("  noir \t\n", {"Cafe Noir"}),
    ("\u3000進撃\u3000", {"Hidden"}),
    ("qz", {"QZ"}),
    ("x" * 255, set()),
    (" " * 300 + "noir" + " " * 300, {"Cafe Noir"}),
]


WORDS = ["Evx", "Ey"]  # one that uses the index, one that is too short for it


def ranked(word: str) -> list[dict[str, Any]]:
    """Return anime that match the word, newest first: the worse a match, the newer."""
    rows: list[dict[str, Any]] = [
        *({"title": "Other", "synonyms": [word]}, {"title": "Original", "title_original": word.upper()}),
        *({"title": f"The {word}"}, {"title": f"re{word}"}),
        *({"title": f"{word} Two"}, {"title": f"{word.lower()}ngelion"}),
        *({"title": word}, {"title": f"Ë{word[1:].lower()}"}),
    ]
    return [{**row, "created_at": NOW - timedelta(days=age)} for age, row in enumerate(rows)]


@pytest.fixture(scope="module")
async def client(server: URL, template: URL) -> AsyncIterator[httpx.AsyncClient]:
    """The application on a catalogue of unusual titles."""
    async with copy_of(template, server) as url:
        await add(url, "anime", *SHELF, *(row for word in WORDS for row in ranked(word)))
        async with client_of(url) as client:
            yield client


async def search(client: httpx.AsyncClient, q: str, **query: Any) -> list[str]:
    response = await client.get(PATH, params={"q": q, **query})
    assert response.status_code == 200, response.text[:200]
    return [item["title"] for item in response.json()]


@pytest.mark.parametrize(("q", "expected"), FOUND)
async def test_search_finds_matching_titles(client: httpx.AsyncClient, q: str, expected: set[str]) -> None:
    found = await search(client, q)
    assert set(found) == expected
    assert len(found) == len(expected)


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("тетрадь", "Death Note"),
        ("進撃の巨人", "Shingeki no Kyojin"),
        ("DEJA VU", "Steins;Gate Movie: Fuka Ryouiki no Déjà vu"),
        ("chateau ambulant", "Howl no Ugoku Shiro"),
        ("pokemon origins", "Pokemon: The Origin"),
        ("Data_xx", "DRAMAtical Murder OVA: Data_xx_Transitory"),
        ("1000%", "Uta no☆Prince-sama♪ Maji Love 1000%"),
    ],
)
async def test_search_finds_anime_of_the_sample(reader: httpx.AsyncClient, q: str, expected: str) -> None:
    assert await search(reader, q) == [expected]


async def test_search_returns_an_array_of_items(reader: httpx.AsyncClient) -> None:
    listed = {item["id"]: item for item in (await reader.get("/anime?limit=100")).json()}
    response = await reader.get(PATH, params={"q": "death note"})
    assert response.headers["content-type"] == "application/json"
    items = response.json()
    assert [item["title"] for item in items] == ["Death Note", "Death Note Rewrite"]
    assert all(set(item) == LIST_FIELDS and item == listed[item["id"]] for item in items)


@pytest.mark.parametrize("word", WORDS)
async def test_best_match_is_first(client: httpx.AsyncClient, word: str) -> None:
    best = [
        *(word, f"Ë{word[1:].lower()}", f"{word} Two", f"{word.lower()}ngelion"),
        *(f"The {word}", f"re{word}", "Other", "Original"),
    ]
    assert await search(client, word.swapcase()) == best
    assert await search(client, word, sort="-created_at") == [row["title"] for row in ranked(word)]
    assert [
        item["title"] async for page in pages(client, PATH, {"q": word, "limit": 3}) for item in page.json()
    ] == best


async def test_unencoded_letters_are_accepted(reader: httpx.AsyncClient) -> None:
    for q in ("тетрадь", "進撃の巨人", "déjà"):
        response = await send(reader, f"{PATH}?q={q}")
        assert len(response.json()) == 1, q


async def test_filters_and_sort_apply_to_the_search(reader: httpx.AsyncClient) -> None:
    kimetsu = ["Kimetsu no Yaiba", "Kimetsu no Yaiba Movie: Mugen Ressha-hen"]
    assert await search(reader, "kimetsu", sort="title") == kimetsu
    assert await search(reader, "kimetsu", sort="-title") == kimetsu[::-1]
    assert await search(reader, "kimetsu", sort="year") == kimetsu
    assert await search(reader, "kimetsu", type="MOVIE") == kimetsu[1:]
    assert await search(reader, "kimetsu", year=2019, season="SPRING", status="finished", type="TV") == kimetsu[:1]
    assert await search(reader, "kimetsu", genres="Demons,ACTION") == kimetsu
    assert await search(reader, "kimetsu", genres="comedy") == []
    assert await search(reader, "no", sort="-score", limit=2) == ["Kimi no Na wa.", "Sousou no Frieren"]


@pytest.mark.parametrize("q", ["no", "one", "進撃"])
async def test_pages_contain_every_row_once(reader: httpx.AsyncClient, q: str) -> None:
    every = (await reader.get(PATH, params={"q": q, "limit": 100})).json()
    seen = []
    async for page in pages(reader, PATH, {"q": q, "limit": 1, "total": "true"}):
        seen += page.json()
        assert page.headers["x-total-count"] == str(len(every))
        if link := page.headers.get("link"):
            target = httpx.URL(link[1 : link.index(">")])
            parameters = dict(target.params)
            assert parameters.pop("cursor")
            assert parameters == {"q": q, "limit": "1", "total": "true"}
    assert seen == every
    assert len({item["id"] for item in seen}) == len(seen) > 0


async def test_total_is_returned_on_request(reader: httpx.AsyncClient) -> None:
    for q, total in (("death note", "2"), ("xyzzy", "0"), ("xy", "0")):
        assert (await reader.get(PATH, params={"q": q, "total": "true"})).headers["x-total-count"] == total
        assert "x-total-count" not in (await reader.get(PATH, params={"q": q})).headers


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({}, TOO_SHORT),
        *[({"q": q}, TOO_SHORT) for q in ("", "a", "あ", "   ", " a ", "\ta\n", "\u3000\u3000", "\u00a0a\u00a0")],
        *[({"q": q}, TOO_LONG) for q in ("x" * 256, "あ" * 256, " " + "x" * 256, "x" * 5000)],
    ],
)
async def test_missing_text_or_wrong_length_returns_400(
    reader: httpx.AsyncClient, query: dict[str, str], message: str
) -> None:
    for path in (PATH, f"{PATH}/"):
        response = await reader.get(path, params=query)
        assert response.status_code == 400
        assert response.json() == {"code": "VALIDATION_ERROR", "message": message, "details": None}


async def test_accents_alone_match_no_title(client: httpx.AsyncClient) -> None:
    for q in ("\u0301\u0301", "\u0301\u0302\u0303"):
        response = await client.get(PATH, params={"q": q})
        assert response.status_code == 400 or response.json() == []


@pytest.mark.parametrize("q", ["\0\0", "a\0b", "death\0note"])
async def test_nul_in_the_text_is_refused(reader: httpx.AsyncClient, q: str) -> None:
    response = await reader.get(PATH, params={"q": q})
    assert response.status_code == 422
    body = response.json()
    assert (body["code"], body["message"]) == ("VALIDATION_ERROR", "Request validation failed")


async def test_trailing_slash_is_optional(reader: httpx.AsyncClient) -> None:
    without, with_slash = await reader.get(f"{PATH}?q=one"), await reader.get(f"{PATH}/?q=one")
    assert (without.status_code, with_slash.status_code) == (200, 200)
    assert without.content == with_slash.content != b"[]"
