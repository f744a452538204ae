"""GET /search/anime: matches, their order, filters, and refused texts."""

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy.engine import URL

from kitsu.db.statements import compiled_statement
from kitsu.domain.catalogue.search import listing_of
from tests.application import Applications, client_of
from tests.assertions import assert_error, pages
from tests.conftest import ROOT
from tests.controllers.catalogue.test_anime import LIST_FIELDS
from tests.databases import connect, copy_of, execute
from tests.factories import add, sign_in
from tests.web.test_errors import send

PATH = "/search/anime"
CASES = ROOT.parent / "shared" / "cases" / "search"
TOO_SHORT = "Search query must have at least 2 characters"
WIDE = "\uff37\uff29\uff24\uff25"  # WIDE in full-width letters

SHELF: list[dict[str, Any]] = [
    {"title": "Haikyuu!!", "title_original": "ハイキュー!!"},
    {"title": "Haikyuu!! Second Season", "synonyms": ["Haikyuu!! 2nd Season"]},
    {"title": "Haikyuu!! Movie 2"},
    {"title": "Yuru Camp△", "title_original": "ゆるキャン△", "synonyms": ["Laid-Back Camp"]},
    {"title": "Yuru Camp△ Season 2"},
    {"title": "Shingeki no Kyojin", "title_original": "進撃の巨人", "synonyms": ["Attack on Titan", "AoT", "SnK"]},
    {"title": "Shingeki no Kyojin Season 3 Part 2", "title_original": "進撃の巨人 第3期"},
    {"title": "Shingeki no Kyojin: The Final Season"},
    {"title": "Kuroko no Basket"},
    {"title": "Kuroko no Basket 2"},
    {"title": "Mob Psycho 100"},
    {"title": "Mob Psycho 100 III"},
    {"title": "Yuu☆Yuu☆Hakusho"},
    {"title": "Mahou Shoujo Madoka★Magica"},
    {"title": "Hunter × Hunter"},
    {"title": "Fate/stay night"},
    {"title": "Ookami to Koushinryou", "synonyms": ["Spice & Wolf"]},
    {"title": "The iDOLM@STER"},
    {"title": "Frieren: Beyond Journey's End", "synonyms": ["Sousou no Frieren"]},
    {"title": "Violet Evergarden"},
    {"title": "Jujutsu Kaisen", "synonyms": ["JJK"]},
    {"title": "Kaguya-sama wa Kokurasetai"},
    {"title": "Ano Hi Mita Hana no Namae wo Bokutachi wa Mada Shiranai."},
    {"title": "ЁЛКА зелёная", "title_original": "Новогодняя история"},
    {"title": "Café Résumé", "synonyms": ["Der Große Øre"]},
    {"title": f"{WIDE} screen"},
    {"title": "Sale 100% off"},
    {"title": "snake_case"},
    {"title": "snakeXcase"},
    {"title": "'; DROP TABLE anime; --"},
    {"title": "★★"},
    {"title": "สวัสดีชาวโลก"},
]
BEST: list[tuple[str, str]] = [
    # marks and blanks
    *(
        ("haikyu", "Haikyuu!!"),
        ("haikyuu!!", "Haikyuu!!"),
        ("haikyū", "Haikyuu!!"),
        ("mob psycho100", "Mob Psycho 100"),
    ),
    *(("yuyu hakusho", "Yuu☆Yuu☆Hakusho"), ("yu yu hakusho", "Yuu☆Yuu☆Hakusho"), ("snake_case", "snake_case")),
    *(("madoka magica", "Mahou Shoujo Madoka★Magica"), ("madoka☆magica", "Mahou Shoujo Madoka★Magica")),
    *(("hunterxhunter", "Hunter × Hunter"), ("hunter x hunter", "Hunter × Hunter"), ("fate stay", "Fate/stay night")),
    *(("spice and wolf", "Ookami to Koushinryou"), ("spice wolf", "Ookami to Koushinryou")),
    *(("idolmaster", "The iDOLM@STER"), ("journeys end", "Frieren: Beyond Journey's End")),
    *(("journey’s-end", "Frieren: Beyond Journey's End"), ("kaguya sama", "Kaguya-sama wa Kokurasetai")),
    # typing errors
    *(("violett evergardn", "Violet Evergarden"), ("viloet evergarden", "Violet Evergarden")),
    *(("kuroko no basuket", "Kuroko no Basket"), ("shingki no kyojin", "Shingeki no Kyojin")),
    *(("atack on titan", "Shingeki no Kyojin"), ("jujitsu kaizen", "Jujutsu Kaisen")),
    # words: another order, left out, only some of them
    *(("titan attack", "Shingeki no Kyojin"), ("kyojin shingeki", "Shingeki no Kyojin")),
    *(("hana namae", "Ano Hi Mita Hana no Namae wo Bokutachi wa Mada Shiranai."), ("magica", SHELF[13]["title"])),
    ("ano hi mita hana no namae o", "Ano Hi Mita Hana no Namae wo Bokutachi wa Mada Shiranai."),
    ("mita han no namea", "Ano Hi Mita Hana no Namae wo Bokutachi wa Mada Shiranai."),
    # seasons
    *((f"haikyuu {it}", "Haikyuu!! Second Season") for it in ("2nd season", "season 2", "s2", "II", "2", "part 2")),
    *(("mob psycho 100 season 3", "Mob Psycho 100 III"), ("yuru camp s2", "Yuru Camp△ Season 2")),
    *(("yuru camp", "Yuru Camp△"), ("kuroko no basket season 1", "Kuroko no Basket")),
    *(("kuroko no basket 2nd season", "Kuroko no Basket 2"), ("進撃の巨人 3期", "Shingeki no Kyojin Season 3 Part 2")),
    *(("shingeki no kyojin s3 part 2", SHELF[6]["title"]), ("shingeki final season", SHELF[7]["title"])),
    # scripts and forms of letters
    *(("ゆるきゃん", "Yuru Camp△"), ("ユルキャン", "Yuru Camp△"), ("\uff95\uff99\uff77\uff6c\uff9d", "Yuru Camp△")),
    *(("巨人", "Shingeki no Kyojin"), ("はいきゅう", "Haikyuu!!")),
    *(("елка", "ЁЛКА зелёная"), ("ЗЕЛЕНАЯ", "ЁЛКА зелёная"), ("новогодняя", "ЁЛКА зелёная")),
    *(("cafe\u0301", "Café Résumé"), ("CAFE", "Café Résumé"), ("grosse ore", "Café Résumé")),
    *(("wide", f"{WIDE} screen"), (WIDE.lower(), f"{WIDE} screen"), ("\uff4a\uff4a\uff4b", "Jujutsu Kaisen")),
    *(("okami to koshinryo", "Ookami to Koushinryou"), ("ชาวโลก", "สวัสดีชาวโลก")),
    # other titles
    *(("jjk", "Jujutsu Kaisen"), ("aot", "Shingeki no Kyojin"), ("laid back camp", "Yuru Camp△")),
    # wildcards, operators and quotes are letters
    *(("100%", "Sale 100% off"), ("'; DROP TABLE anime; --", "'; DROP TABLE anime; --"), ("snake%case", "snake_case")),
    *(("wide & screen | !", f"{WIDE} screen"), ("violet:* evergarden", "Violet Evergarden"), ("★★", "★★")),
    # white space around the text
    *(("  cafe \t\n", "Café Résumé"), ("\u3000進撃\u3000", "Shingeki no Kyojin")),
]
NOTHING = [
    *(
        "%%",
        "__",
        "___",
        "\\\\",
        "||",
        ":*",
        "''",
        "()",
        "\uff05\uff05",
        "xyzzyplugh",
        "qqqq wwww eeee",
        "lorem ipsum dolor",
    ),
    *("\u0301\u0301", "кукушка", "機動戦士", "a" * 200, "zq " * 66, " ".join("bcdfghjkqvwxz" * 5)[:119]),
]


@pytest.fixture(scope="module")
async def shelf(server: URL, template: URL) -> AsyncIterator[URL]:
    """A catalogue of titles that are hard to find, among others."""
    async with copy_of(template, server) as url:
        await add(url, "anime", *SHELF)
        others = "SELECT gen_random_uuid(), 'Other ' || n, repeat('text ', 100) FROM generate_series(5000, 8000) AS n"
        await execute(url, f"INSERT INTO anime (id, title, description) {others}", "VACUUM ANALYZE")
        yield url


@pytest.fixture
async def database(accountless: URL) -> URL:
    await execute(accountless, "DELETE FROM anime")
    return accountless


@pytest.fixture(scope="module")
async def client(shelf: URL) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(shelf) as client:
        yield client


async def search(client: httpx.AsyncClient, q: str, **query: Any) -> list[str]:
    response = await client.get(PATH, params={"q": q, **query})
    assert response.status_code == 200, response.text[:200]
    return [item["title"] for item in response.json()]


@pytest.mark.parametrize(("q", "expected"), BEST)
async def test_meant_anime_is_first(client: httpx.AsyncClient, q: str, expected: str) -> None:
    assert (await search(client, q))[:1] == [expected]


@pytest.mark.parametrize("q", NOTHING)
async def test_nothing_similar_returns_an_empty_list(client: httpx.AsyncClient, q: str) -> None:
    assert await search(client, q, total="true") == []


@pytest.mark.parametrize("q", ["a b", "a" + " " * 198 + "b", "ß" * 200, "&" * 200, "あ" * 200, "😀" * 200, "x1 " * 66])
async def test_unusual_text_is_no_error(client: httpx.AsyncClient, q: str) -> None:
    await search(client, q)
    await search(client, q, sort="title", type="TV", genres="drama", year=2000, season="FALL", status="FINISHED")


@pytest.mark.parametrize("case", [path.parent.name for path in sorted(CASES.glob("*/case.json"))] or [None])
async def test_cases_of_other_projects_are_found(reader: httpx.AsyncClient, case: str | None) -> None:
    if case is None:
        pytest.skip(f"{CASES} is missing")
    (step,) = json.loads((CASES / case / "case.json").read_text("utf-8"))["steps"]
    response = await send(reader, step["path"].replace(" ", "%20"))
    assert step["expect"]["$any"]["title"] in [item["title"] for item in response.json()]


async def test_search_returns_an_array_of_items(reader: httpx.AsyncClient) -> None:
    listed = {item["id"]: item for item in (await reader.get("/anime?limit=100")).json()}
    items = (await reader.get(PATH, params={"q": "death note"})).json()
    assert [item["title"] for item in items] == ["Death Note", "Death Note Rewrite"]
    assert all(set(item) == LIST_FIELDS and item == listed[item["id"]] for item in items)


async def test_whole_title_comes_before_beginning_words_and_resemblance(
    database: URL, applications: Applications, client: httpx.AsyncClient
) -> None:
    ordered = ["Galaxy Run", "Gálaxy-Run!", "Galaxy Run Deluxe", "Galaxy Runner Deluxe", "Run to the Galaxy"]
    await add(database, "anime", *({"title": title, "score": place} for place, title in enumerate(ordered)))
    async with applications.client_of() as own:
        assert await search(own, "galaxy run") == ordered
        assert set((await search(own, "glaxy run"))[:2]) == set(ordered[:2])


async def test_whole_title_of_three_words_leaves_out_scattered_words(database: URL, applications: Applications) -> None:
    titles = ["Kumo no Uta", "Kumo no Uta 2", "Ano Kumo no Uta", "Kumo to Umi no Uta"]
    await add(database, "anime", *({"title": title} for title in titles))
    async with applications.client_of() as own:
        assert set(await search(own, "kumo no uta")) == set(titles[:3])
        assert set(await search(own, "uta no kumo")) == set(titles)


async def test_better_known_anime_is_first_among_equal_matches(
    database: URL, applications: Applications, rows: asyncpg.Connection
) -> None:
    names = ["members", "member", "score", "ids", "unknown"]
    ids = dict(
        zip(names, await add(database, "anime", *({"title": "Twin", "status": it} for it in names)), strict=True)
    )
    for name, count in (("member", 1), ("members", 2)):
        for table in ["favorites", "library_entries"][:count]:
            user = (await sign_in(rows)).user_id
            extra = {"status": "watching"} if table == "library_entries" else {}
            await add(database, table, {"user_id": user, "anime_id": ids[name], **extra})
    await rows.execute("UPDATE anime SET score = 9 WHERE status = 'score'")
    for provider in ("anilist", "anidb"):
        await rows.execute("INSERT INTO external_ids VALUES ($1, '1', $2)", provider, ids["ids"])
    async with applications.client_of() as own:
        assert [item["status"] for item in (await own.get(f"{PATH}?q=twin")).json()] == names


async def test_every_write_of_titles_changes_what_is_found(
    database: URL, applications: Applications, rows: asyncpg.Connection
) -> None:
    async with applications.client_of() as own:
        await rows.execute(
            "INSERT INTO anime (id, title, synonyms) VALUES (gen_random_uuid(), 'Firefly', '{Lampyris}')"
        )
        assert await search(own, "lampirys") == await search(own, "firefly") == ["Firefly"]
        await rows.execute("UPDATE anime SET title = 'Glowworm', synonyms = '{}', title_original = '蛍'")
        assert await search(own, "lampyris") == await search(own, "firefly") == []
        assert await search(own, "glow worm") == ["Glowworm"]
        await rows.execute("DELETE FROM anime")
        assert await search(own, "glowworm") == []
        assert await rows.fetchval("SELECT count(*) FROM anime_titles") == 0


async def test_long_titles_are_stored_and_found(
    database: URL, applications: Applications, rows: asyncpg.Connection
) -> None:
    synonyms = ["x" * 5000, "ก" * 3000, "ab " * 1000, "長" * 1000, "😀" * 1000, "", " "]
    await rows.execute("INSERT INTO anime (id, title, synonyms) VALUES (gen_random_uuid(), 'Long', $1)", synonyms)
    async with applications.client_of() as own:
        for q in ("long", "ก" * 200, "ab ab ab", "長長", "長" * 200):
            assert await search(own, q) == ["Long"], q[:9]


@pytest.mark.parametrize(
    "q", ["haikyuu", "hai", "titan attack", "violett evergardn", "qqqq wwww", "kyojn", "巨人", "進撃の"]
)
async def test_search_scans_no_table(shelf: URL, q: str) -> None:
    sql, names, constants = compiled_statement(listing_of(None).first)
    parameters = {**constants, **dict.fromkeys(("type", "status", "year", "season", "genres")), "q": q, "offset": 0}
    connection = await connect(shelf)
    async with connection.transaction():
        await connection.fetch(sql, *({**parameters, "limit": 21}[name] for name in names))
        scans = await connection.fetch("SELECT relname, seq_scan FROM pg_stat_xact_user_tables WHERE idx_scan > 0")
    await connection.close()
    assert {"anime_titles"} <= {name for name, _ in scans}
    assert {name: count for name, count in scans if count and name.startswith(("anime", "title"))} == {}


async def test_filters_and_sort_apply_to_the_search(reader: httpx.AsyncClient) -> None:
    kimetsu = ["Kimetsu no Yaiba", "Kimetsu no Yaiba Movie: Mugen Ressha-hen"]
    assert await search(reader, "kimetsu", sort="title") == kimetsu
    assert await search(reader, "kimetsu", sort="-title") == kimetsu[::-1]
    assert await search(reader, "kimetsu", sort="year") == kimetsu
    assert await search(reader, "kimetsu", type="MOVIE") == kimetsu[1:]
    assert await search(reader, "kimetsu", year=2019, season="SPRING", status="finished", type="TV") == kimetsu[:1]
    assert await search(reader, "kimetsu", genres="Demons,ACTION") == kimetsu
    assert await search(reader, "kimetsu", genres="comedy") == []
    assert await search(reader, "kimetus", type="MOVIE") == kimetsu[1:]
    assert await search(reader, "no yaiba", sort="-score", limit=1) in (kimetsu[:1], kimetsu[1:])


@pytest.mark.parametrize("q", ["no", "sou", "進撃", "kimetus"])
@pytest.mark.parametrize("sort", [None, "-score"])
async def test_pages_contain_every_row_once(reader: httpx.AsyncClient, q: str, sort: str | None) -> None:
    query = {"q": q} | ({"sort": sort} if sort else {})
    every = (await reader.get(PATH, params={**query, "limit": 100})).json()
    seen = []
    async for page in pages(reader, PATH, {**query, "limit": 1, "total": "true"}):
        seen += page.json()
        assert page.headers["x-total-count"] == str(len(every))
    assert seen == every
    assert len({item["id"] for item in seen}) == len(seen) > 0
    offset = await reader.get(PATH, params={**query, "offset": len(every) - 1})
    assert offset.json() == every[-1:]


async def test_unencoded_letters_are_accepted(reader: httpx.AsyncClient) -> None:
    for q in ("тетрадь", "進撃の巨人", "déjà"):
        assert len((await send(reader, f"{PATH}?q={q}")).json()) == 1, q


@pytest.mark.parametrize(
    "query", [{}, *({"q": q} for q in ("", "a", "あ", "   ", " a ", "\ta\n", "\u3000\u3000", "\u00a0a\u00a0"))]
)
async def test_missing_or_short_text_returns_400(reader: httpx.AsyncClient, query: dict[str, str]) -> None:
    for path in (PATH, f"{PATH}/"):
        assert_error(await reader.get(path, params=query), 400, TOO_SHORT)


@pytest.mark.parametrize("q", ["x" * 201, "あ" * 201, "x" * 5000, "\0\0", "a\0b"])
async def test_long_text_and_nul_are_refused(reader: httpx.AsyncClient, q: str) -> None:
    assert_error(await reader.get(PATH, params={"q": q}), 422, "Request validation failed")


async def test_lone_surrogates_are_refused(reader: httpx.AsyncClient) -> None:
    assert_error(await send(reader, f"{PATH}?q=ab%ED%A0%80"), 422)
