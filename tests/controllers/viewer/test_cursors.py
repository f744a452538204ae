"""Lists that are read by the cursor in `Link`: the pages add up to the whole list, in every order."""

from datetime import timedelta
from uuid import UUID, uuid4

import httpx
import pytest

from tests.assertions import read_pages
from tests.controllers.catalogue.test_anime import passes
from tests.controllers.viewer.crowd import EACH, MOMENTS, SORTS, Crowd, asking, check_walks, next_of

FILTERS: tuple[dict[str, str], ...] = (
    {},
    {"type": "TV"},
    {"type": "OVA"},  # year and score are null
    {"status": "ongoing"},
    {"year": "2000"},
    {"season": "FALL"},
    {"genres": "drama"},
    {"genres": "Drama,comedy", "type": "TV"},
    {"type": "TV", "status": "FINISHED", "season": "FALL"},
    {"type": "TV", "status": "nope"},
)


@pytest.mark.parametrize("sort", SORTS)
async def test_anime_pages_in_every_order_equal_the_list(crowd: Crowd, sort: str) -> None:
    column, way = (sort or "-created_at").lstrip("-"), "ASC" if sort and sort[0] != "-" else "DESC"
    key = "title_key" if column == "title" else column
    found = await crowd.backend.rows.fetch(f"SELECT * FROM anime ORDER BY {key} {way} NULLS LAST, id {way}")
    rows = [dict(row) | {"genres": [genre.lower() for genre in row["genres"]]} for row in found]
    assert len({row[column] for row in rows}) < len(rows) / 3
    lengths = []
    for query in FILTERS:
        path = asking("/anime", **query, **({"sort": sort} if sort else {}))
        expected = [str(row["id"]) for row in rows if passes(row, query)]
        assert await check_walks(crowd.guest, path) == expected
        lengths.append(len(expected))
    assert lengths.count(0) == 1
    assert max(lengths) == 41


LISTS = (
    *("/releases", "/releases?anime_id={anime_id}", "/favorites", "/watch/progress", "/watch/continue", "/views"),
    *("/library", "/library?status=watching", "/library?status=dropped", "/collections", "/users"),
    *("/collections/{collection_id}/anime", f"/releases?anime_id={UUID(int=0)}"),
    *("/search/anime?q=ec", "/search/anime?q=eclair", "/search/anime?q=no+such+title", "/search/anime?q=~~"),
    *(f"/search/anime?q=eclair&sort={sort}" for sort in SORTS if sort),
    *("/search/anime?q=ec&sort=-year", "/search/anime?q=ec&type=TV&genres=drama", "/search/anime?q=жук&sort=score"),
)
EMPTY = ("dropped", str(UUID(int=0)), "such", "~~")


@pytest.mark.parametrize("path", LISTS)
async def test_pages_of_other_lists_equal_the_list(crowd: Crowd, path: str) -> None:
    found = await check_walks(crowd.reader(path), path.format(**crowd.names))
    assert (found == []) is path.endswith(EMPTY) or "such" in path
    assert len(set(found)) == len(found)
    assert len(found) >= 4 or not found


async def test_guest_pages_through_public_collections(crowd: Crowd) -> None:
    seen = await check_walks(crowd.guest, "/collections")
    order = "ORDER BY created_at DESC, id DESC"
    public = await crowd.backend.rows.fetch(f"SELECT id FROM collections WHERE is_public {order}")
    assert seen == [str(row["id"]) for row in public]
    assert seen != await check_walks(crowd.viewer, "/collections")


@pytest.mark.parametrize("column", ["year", "score"])
@pytest.mark.parametrize(
    ("known", "unknown"),
    [(0, 0), (0, 1), (0, 6), (1, 0), (1, 1), (1, 6), (2, 4), (3, 3), (4, 0), (6, 0), (6, 1), (6, 6)],
)
async def test_pages_cross_from_known_to_null_values(busy: Crowd, column: str, known: int, unknown: int) -> None:
    tag = uuid4().hex
    for value in [5] * known + [None] * unknown:
        await busy.backend.anime(status=tag, **{column: value})
    for sort in (column, f"-{column}"):
        path = f"/anime?status={tag}&sort={sort}"
        await check_walks(busy.guest, path)
        values = [item[column] for page in await read_pages(busy.guest, f"{path}&limit=2") for item in page.json()]
        assert values == [5] * known + [None] * unknown


@pytest.mark.parametrize(("shape", "path"), EACH)
async def test_link_of_an_offset_page_continues_by_cursor(crowd: Crowd, shape: str, path: str) -> None:
    path, viewer = path.format(**crowd.names), crowd.reader(path)
    every = await viewer.read(asking(path, limit=100))
    for query in ("offset=5&limit=4&total=true", "limit=4&total=true&offset=5"):
        pages = await read_pages(viewer, path + ("&" if "?" in path else "?") + query)
        assert pages[0].json() == every[5:9]
        assert [item for page in pages for item in page.json()] == every[5:]
        target = next_of(pages[0])
        assert (target.host, target.path) == ("", httpx.URL(path).path)
        parameters = dict(target.params)
        assert parameters.pop("cursor")
        assert parameters == {**httpx.URL(path).params, "limit": "4", "total": "true"}


@pytest.mark.parametrize("letter", ["x", '"', "\u0001", "🦊", "ガ", "\u3300", "\ufdfb", "\ufdfa"], ids=ascii)
async def test_cursor_holds_the_longest_titles(busy: Crowd, letter: str) -> None:
    tag = uuid4().hex
    for last in "abcde":
        await busy.backend.anime(title=letter * 254 + last, status=tag)
    for sort in ("title", "-title"):
        await check_walks(busy.guest, f"/anime?status={tag}&sort={sort}")


async def test_pages_by_title_use_the_collation_of_the_database(busy: Crowd) -> None:
    tag = uuid4().hex
    titles = [
        "a b",
        "a-b",
        "ab",
        "A_b",
        "a~b",
        "Äb",
        "B",
        "b a",
        "[b]",
        "!b",
        "ß",
        "ss",
        "Ω",
        "ω",
        "ё",
        "\U0001d400",
        "ﾊ",
    ]
    for title in titles:
        await busy.backend.anime(title=title, status=tag)
    for sort in ("title", "-title"):
        assert len(await check_walks(busy.guest, f"/anime?status={tag}&sort={sort}")) == len(titles)


async def test_cursor_keeps_times_and_scores_exactly(busy: Crowd) -> None:
    tag, score = uuid4().hex, 8.1
    for number in range(10):
        moment = MOMENTS[0] + timedelta(microseconds=number)
        await busy.backend.anime(status=tag, created_at=moment, score=score + number * 2**-49)
    for sort in ("created_at", "-created_at", "score", "-score"):
        assert len(await check_walks(busy.guest, f"/anime?status={tag}&sort={sort}")) == 10
