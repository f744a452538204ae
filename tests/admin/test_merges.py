"""The pages of merges, splits and reviews."""

import json
import re
from pathlib import Path
from uuid import uuid4

from kitsu.domain.catalogue.importing import import_catalogue
from tests.admin.browser import Browser
from tests.admin.test_anime import added, api
from tests.databases import engine_of
from tests.factories import Backend


async def test_merge_is_previewed_made_and_undone(editor: Browser) -> None:
    word = uuid4().hex
    old = await added(editor, title=f"Old {word}", external_ids=f"anidb: {word}")
    into = await added(editor, title=f"Into {word}")
    found = await editor.open(f"/anime/{old}/merge", params={"q": f"into {word}"})
    assert f"merge?into={into}" in found
    preview = await editor.open(f"/anime/{old}/merge?into={into}")
    assert "All of this moves" in preview
    assert (await api(editor, f"/anime/{old}"))["id"] == old
    response = await editor.send(f"/anime/{old}/merge?into={into}", action=f"/anime/{old}/merge")
    assert response.headers["location"] == f"/admin/anime/{into}?done=anime-merged"
    assert (await api(editor, f"/anime/{old}"))["id"] == into
    undo = re.search(r'action="/admin([^"]+/undo)"', await editor.open("/merges"))
    assert undo
    response = await editor.send("/merges", action=undo[1])
    assert response.headers["location"] == f"/admin/anime/{old}?done=merge-undone"
    assert (await api(editor, f"/anime/{old}"))["external_ids"] == {"anidb": word}


async def test_merge_of_a_changed_anime_is_refused(editor: Browser) -> None:
    old, into = await added(editor), await added(editor)
    page = f"/anime/{old}/merge?into={into}"
    tag = re.search('name="_tag" value="([^"]+)"', await editor.open(page))
    assert tag
    await editor.send(f"/anime/{old}", {"year": "2001"})
    response = await editor.send(page, {"_tag": tag[1]}, action=f"/anime/{old}/merge")
    assert response.status_code == 412
    assert "Nothing was changed" in response.text
    assert (await api(editor, f"/anime/{old}"))["id"] == old


async def test_split_moves_the_chosen_parts(editor: Browser) -> None:
    word = uuid4().hex
    anime_id = await added(editor, external_ids=f"anidb: {word}\nanilist: {word}")
    path = f"/anime/{anime_id}/split"
    nothing = await editor.send(path, {"title": "Part"})
    assert nothing.status_code == 422
    assert "Choose external ids, releases or episodes" in nothing.text
    response = await editor.send(path, {"title": "Part", "external_id": [f"anilist:{word}"]})
    new = response.headers["location"].removeprefix("/admin/anime/").partition("?")[0]
    assert (await api(editor, f"/anime/{new}"))["external_ids"] == {"anilist": word}
    assert (await api(editor, f"/anime/{anime_id}"))["external_ids"] == {"anidb": word}


async def test_review_is_shown_with_its_reason_and_decided(editor: Browser, backend: Backend, tmp_path: Path) -> None:
    number = int(uuid4().hex[:12], 16)
    sources = [f"https://myanimelist.net/anime/{number}", f"https://anilist.co/anime/{number}"]
    rest = {"type": "TV", "episodes": 2, "status": "FINISHED"}
    files = ([("Aki", sources[:1]), ("Haru", sources[1:])], [("Aki", sources)])
    for entries in files:
        lines = [json.dumps({"title": title, "sources": own} | rest) for title, own in entries]
        (tmp_path / "file.jsonl").write_text("\n".join([json.dumps({"license": {}}), *lines]) + "\n")
        async with engine_of(backend.url) as engine:
            await import_catalogue(engine, tmp_path / "file.jsonl")
    page = await editor.open("/reviews")
    assert "Merge “Haru” into “Aki”?" in page
    assert "the entry does not have its title" in page
    (decide,) = re.findall(r'action="/admin(/reviews/[^"]+)"', page)
    response = await editor.send("/reviews", {"decision": "apply"}, action=decide)
    assert response.headers["location"] == "/admin/reviews?done=review-apply"
    (anime,) = await api(editor, f"/anime?source=anilist&external_id={number}")
    assert anime["title"] == "Aki"
    assert "Merge “Haru”" in await editor.open("/reviews?state=applied")
    await editor.send(f"/anime/{anime['id']}", {"year": "1999"})
    assert f'{anime["id"]}/edited-fields/year/give-back"' in await editor.open("/reviews/edited-fields")
    await editor.send("/reviews/edited-fields", action=f"/anime/{anime['id']}/edited-fields/year/give-back")
    assert (await api(editor, f"/anime/{anime['id']}"))["year"] is None
    repeated = await editor.client.post(f"/admin{decide}", data={"decision": "apply"})
    assert repeated.status_code == 403
