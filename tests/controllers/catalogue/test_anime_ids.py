"""GET /anime?ids=, which reads several anime in one request."""

from uuid import uuid4

import httpx
import pytest

from tests.assertions import assert_error, pages
from tests.factories import Backend
from tests.values import UNKNOWN_ID


async def test_ids_select_up_to_100_anime(reader: httpx.AsyncClient) -> None:
    known = (await reader.get("/anime?limit=100")).json()
    ids = [item["id"] for item in known]
    assert len(ids) > 20
    assert (await reader.get(f"/anime?ids={','.join([*ids, UNKNOWN_ID])}")).json() == known
    some = await reader.get(f"/anime?ids={ids[3]}, {ids[1].upper()},{ids[3]}&total=true")
    assert (some.json(), some.headers["x-total-count"]) == ([known[1], known[3]], "2")
    by_title = await reader.get(f"/anime?ids={','.join(ids)}&sort=title&type=MOVIE")
    assert by_title.json() == (await reader.get("/anime?sort=title&type=MOVIE&limit=100")).json() != []
    found = [page.json() async for page in pages(reader, "/anime", {"ids": ",".join(ids), "limit": 7})]
    assert [item for page in found for item in page] == known


async def test_id_of_a_merged_anime_selects_what_it_became(backend: Backend) -> None:
    editor = await backend.viewer("editor")
    old, into = await backend.animes(2)
    await editor.write("POST", f"/anime/{old}/merge", {"into": into})
    listed = (await backend.client.get(f"/anime?ids={old},{into}")).json()
    assert [item["id"] for item in listed] == [into]


@pytest.mark.parametrize("ids", ["", "x", ",", f"{UNKNOWN_ID},", "null", ",".join(str(uuid4()) for _ in range(101))])
async def test_wrong_ids_are_refused(reader: httpx.AsyncClient, ids: str) -> None:
    response = await reader.get(f"/anime?ids={ids}")
    assert_error(response, 422)
    assert [detail["field"] for detail in response.json()["details"]] == ["ids"]
