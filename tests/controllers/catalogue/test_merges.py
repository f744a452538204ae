"""Merges of anime, their undo, and splits."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.factories import Backend, Viewer

UNKNOWN = "90000000-0000-4000-8000-000000000009"


@pytest.fixture
async def editor(backend: Backend) -> Viewer:
    return await backend.viewer("editor")


async def new_anime(editor: Viewer, title: str, provider: str = "anilist") -> dict[str, Any]:
    """Create an anime with an external id and a release of two episodes."""
    body = {"title": title, "external_ids": {provider: uuid4().hex}, "episode_count": 24}
    anime: dict[str, Any] = await editor.write("POST", "/anime", body, 201)
    release = {"anime_id": anime["id"], "title": f"{title} TV", "episode_count": 2}
    anime["release"] = await editor.write("POST", "/releases", release, 201)
    return anime


async def pair(editor: Viewer) -> tuple[str, str]:
    """Return the ids of two anime."""
    old, into = await new_anime(editor, "Desu Noto", "anidb"), await new_anime(editor, "Death Note")
    return old["id"], into["id"]


async def merge(editor: Viewer, old: str, into: str, status: int = 200, query: str = "") -> Any:
    return await editor.write("POST", f"/anime/{old}/merge{query}", {"into": into}, status)


async def keep(viewer: Viewer, anime_id: str, episode: int, status: str, notes: str | None = None) -> None:
    """Give a viewer a favourite, progress and a library entry of an anime."""
    await viewer.write("POST", "/favorites", {"anime_id": anime_id}, 201)
    body = {"anime_id": anime_id, "episode": episode, "progress_percent": 50}
    await viewer.write("POST", "/watch/progress", body)
    await viewer.write("PUT", f"/library/{anime_id}", {"status": status, "notes": notes})


async def kept(viewer: Viewer) -> dict[str, list[Any]]:
    """Return what a viewer has, without ids and times."""
    return {
        "favorites": [row["anime_id"] for row in await viewer.read("/favorites")],
        "progress": [(row["anime_id"], row["episode"]) for row in await viewer.read("/watch/progress")],
        "library": sorted((row["anime_id"], row["status"], row["notes"]) for row in await viewer.read("/library")),
    }


async def test_merge_moves_what_the_catalogue_and_viewers_have(backend: Backend, editor: Viewer) -> None:
    old, into = await pair(editor)
    viewer = await backend.viewer()
    await keep(viewer, old, 7, "watching", "Good")
    collection = await viewer.write("POST", "/collections", {"name": "Best"}, 201)
    await viewer.write("PUT", f"/collections/{collection['id']}/anime/{old}", status=204)
    report = await merge(editor, old, into)
    one = {"moved": 1, "combined": 0}
    lists = dict.fromkeys(("favorites", "watch_progress", "library_entries", "collection_items"), one)
    assert report == {"releases": 1, "external_ids": 1, "titles": ["Desu Noto"], **lists}
    anime = await viewer.read(f"/anime/{into}")
    assert set(anime["external_ids"]) == {"anilist", "anidb"}
    assert anime["synonyms"] == ["Desu Noto"]
    assert {row["title"] for row in await viewer.read(f"/releases?anime_id={into}")} == {
        "Desu Noto TV",
        "Death Note TV",
    }
    assert await kept(viewer) == {
        "favorites": [into], "progress": [(into, 7)], "library": [(into, "watching", "Good")],
    }  # fmt: skip
    assert [item["id"] for item in await viewer.read(f"/collections/{collection['id']}/anime")] == [into]
    assert into in {row["id"] for row in await viewer.read("/search/anime?q=desu noto")}


async def test_rows_of_both_are_combined(backend: Backend, editor: Viewer) -> None:
    old, into = await pair(editor)
    further, newer = await backend.viewer(), await backend.viewer()
    await keep(further, into, 3, "plan_to_watch", "First")
    await keep(further, old, 9, "dropped", "Second")
    await keep(newer, old, 2, "completed")
    await keep(newer, into, 5, "on_hold", "Only")
    report = await merge(editor, old, into)
    assert report["library_entries"] == report["watch_progress"] == {"moved": 0, "combined": 2}
    assert await kept(further) == {
        "favorites": [into], "progress": [(into, 9)], "library": [(into, "dropped", "Second\n\nFirst")],
    }  # fmt: skip
    assert await kept(newer) == {"favorites": [into], "progress": [(into, 5)], "library": [(into, "on_hold", "Only")]}
    assert [entry["episodes_watched"] for entry in await newer.read("/library")] == [24]


async def test_devices_in_step_hear_of_the_merge(backend: Backend, editor: Viewer) -> None:
    old, into = await pair(editor)
    viewer = await backend.viewer()
    await keep(viewer, old, 7, "watching")
    paths = ("/favorites", "/watch/progress", "/library")
    first = {path: await viewer.request("GET", f"{path}?updated_since=2020-01-01T00:00:00Z") for path in paths}
    await merge(editor, old, into)
    for path in paths:
        since = first[path].headers["x-updated-until"]
        rows = await viewer.read(f"{path}?updated_since={since}&deleted=true")
        assert sorted((row["anime_id"], "deleted_at" in row) for row in rows) == sorted([(old, True), (into, False)])


async def test_old_id_keeps_working(backend: Backend, editor: Viewer) -> None:
    old, into = await pair(editor)
    await merge(editor, old, into)
    viewer = await backend.viewer()
    assert (await viewer.read(f"/anime/{old}"))["id"] == into
    assert len(await viewer.read(f"/releases?anime_id={old}")) == 2
    await keep(viewer, old, 4, "watching")
    assert await kept(viewer) == {"favorites": [into], "progress": [(into, 4)], "library": [(into, "watching", None)]}
    assert (await viewer.read(f"/library/{old}"))["anime_id"] == into
    etag = (await viewer.request("GET", f"/library/{old}")).headers["etag"]
    put = await viewer.request("PUT", f"/library/{old}", json={"status": "dropped"}, headers={"If-Match": etag})
    assert put.status_code == 200
    collection = (await viewer.write("POST", "/collections", {"name": "Best"}, 201))["id"]
    await viewer.write("PUT", f"/collections/{collection}/anime/{old}?position=0", status=204)
    assert [item["id"] for item in await viewer.read(f"/collections/{collection}/anime")] == [into]
    await viewer.write("DELETE", f"/collections/{collection}/anime/{old}", status=204)
    await viewer.write("DELETE", f"/watch/continue/{old}", status=204)
    assert await viewer.read("/watch/continue") == []
    for path in (f"/favorites/{old}", f"/library/{old}"):
        await viewer.write("DELETE", path, status=204)
    assert (await kept(viewer)).items() >= {"favorites": [], "library": []}.items()
    assert (await editor.write("PATCH", f"/anime/{old}", {"year": 2006}))["id"] == into
    assert (await editor.write("POST", "/releases", {"anime_id": old, "title": "OVA"}, 201))["anime_id"] == into
    await editor.write("DELETE", f"/anime/{old}", status=404)
    assert await viewer.read(f"/collections/{collection}/anime") == []


async def test_dry_run_reports_and_changes_nothing(backend: Backend, editor: Viewer) -> None:
    old, into = await pair(editor)
    viewer = await backend.viewer()
    await keep(viewer, old, 7, "watching")
    before = (await kept(viewer), await viewer.read(f"/anime/{old}"), await viewer.read(f"/anime/{into}"))
    report = await merge(editor, old, into, query="?dry_run=true")
    assert report["favorites"] == {"moved": 1, "combined": 0}
    assert (await kept(viewer), await viewer.read(f"/anime/{old}"), await viewer.read(f"/anime/{into}")) == before
    assert await merge(editor, old, into) == report


async def test_history_shows_the_merge_on_both_anime(editor: Viewer) -> None:
    old, into = await pair(editor)
    await merge(editor, old, into)
    for anime_id, entities in (
        (old, {("anime", "delete"), ("release", "update"), ("external_id", "update")}),
        (into, {("anime", "update"), ("release", "update"), ("external_id", "update")}),
    ):
        history = await editor.read(f"/anime/{anime_id}/history")
        merged = [row for row in history if row["source"] == "merge"]
        assert {(row["entity"], row["action"]) for row in merged} == entities
        await editor.write("POST", f"/anime/{anime_id}/history/{merged[0]['id']}/revert", status=409)


async def test_undo_restores_both_anime_and_their_viewers(backend: Backend, editor: Viewer) -> None:
    old, into = await pair(editor)
    moved, both = await backend.viewer(), await backend.viewer()
    await keep(moved, old, 7, "watching", "Good")
    await keep(both, into, 3, "plan_to_watch", "First")
    await keep(both, old, 9, "dropped", "Second")
    collection = (await moved.write("POST", "/collections", {"name": "Best"}, 201))["id"]
    await moved.write("PUT", f"/collections/{collection}/anime/{old}", status=204)

    async def state() -> Any:
        anime = [await editor.read(f"/anime/{each}") | {"updated_at": None} for each in (old, into)]
        releases = [await editor.read(f"/releases?anime_id={each}") for each in (old, into)]
        return (
            anime,
            releases,
            await kept(moved),
            await kept(both),
            await moved.read(f"/collections/{collection}/anime"),
        )

    before = await state()
    await merge(editor, old, into)
    (done,) = [each for each in await editor.read("/merges") if each["from_id"] == old]
    assert (done["from_title"], done["into_title"], done["undone_at"]) == ("Desu Noto", "Death Note", None)
    assert (await editor.write("POST", f"/merges/{done['id']}/undo"))["id"] == old
    after = await state()
    assert after[:3] == before[:3]
    assert {name: sorted(rows) for name, rows in after[3].items()} == {n: sorted(rows) for n, rows in before[3].items()}
    assert [item["id"] for item in after[4]] == [old]
    await editor.write("POST", f"/merges/{done['id']}/undo", status=409)
    assert await editor.read("/merges") != []
    await merge(editor, old, into)


async def test_later_changes_of_viewers_outlast_an_undo(backend: Backend, editor: Viewer) -> None:
    old, into = await pair(editor)
    viewer = await backend.viewer()
    await keep(viewer, old, 7, "watching", "Good")
    await merge(editor, old, into)
    await viewer.write("DELETE", f"/favorites/{into}", status=204)
    await viewer.write("POST", "/watch/progress", {"anime_id": into, "episode": 8, "progress_percent": 1})
    await viewer.write("PUT", f"/library/{into}", {"status": "on_hold"})
    (done,) = [each for each in await editor.read("/merges") if each["from_id"] == old]
    await editor.write("POST", f"/merges/{done['id']}/undo")
    assert await kept(viewer) == {"favorites": [], "progress": [(into, 8)], "library": [(into, "on_hold", None)]}


async def test_chain_of_merges_is_undone_from_its_end(editor: Viewer) -> None:
    first, second = await pair(editor)
    third = (await new_anime(editor, "Third", "anisearch"))["id"]
    await merge(editor, first, second)
    await merge(editor, second, third)
    assert (await editor.read(f"/anime/{first}"))["id"] == third
    merges = {each["from_id"]: each["id"] for each in await editor.read("/merges")}
    await editor.write("POST", f"/merges/{merges[first]}/undo", status=409)
    await editor.write("POST", f"/merges/{merges[second]}/undo")
    assert (await editor.read(f"/anime/{first}"))["id"] == second
    await editor.write("POST", f"/merges/{merges[first]}/undo")
    assert [(await editor.read(f"/anime/{each}"))["id"] for each in (first, second, third)] == [first, second, third]
    assert [set((await editor.read(f"/anime/{each}"))["external_ids"]) for each in (first, second, third)] == [
        {"anidb"}, {"anilist"}, {"anisearch"},
    ]  # fmt: skip


async def test_merge_older_than_30_days_is_not_undone(backend: Backend, editor: Viewer) -> None:
    old, into = await pair(editor)
    await merge(editor, old, into)
    (done,) = [each for each in await editor.read("/merges") if each["from_id"] == old]
    late = "UPDATE anime_merges SET merged_at = merged_at - interval '30 days 1 minute' WHERE from_id::text = $1"
    await backend.rows.execute(late, old)
    await editor.write("POST", f"/merges/{done['id']}/undo", status=409)
    assert (await editor.read(f"/anime/{old}"))["id"] == into


async def test_merges_at_once_do_one(editor: Viewer) -> None:
    for _ in range(5):
        old, into = await pair(editor)
        pairs = ((old, into), (into, old), (old, into), (into, old))
        requests = (editor.request("POST", f"/anime/{a}/merge", json={"into": b}) for a, b in pairs)
        statuses = sorted(response.status_code for response in await asyncio.gather(*requests))
        assert statuses[0] == 200
        assert set(statuses[1:]) <= {404, 409}
        assert len({(await editor.read(f"/anime/{each}"))["id"] for each in (old, into)}) == 1


async def test_viewers_write_during_a_merge(backend: Backend, editor: Viewer) -> None:
    old, into = await pair(editor)
    viewers = [await backend.viewer() for _ in range(8)]
    for viewer in viewers[:4]:
        await keep(viewer, old, 1, "watching")

    async def play(viewer: Viewer, anime_id: str) -> list[int]:
        statuses = []
        for episode in range(2, 12):
            body = {"anime_id": anime_id, "episode": episode, "progress_percent": 95}
            statuses.append((await viewer.request("POST", "/watch/progress", json=body)).status_code)
        return statuses

    players = (play(viewer, (old, into)[number % 2]) for number, viewer in enumerate(viewers))
    *statuses, _ = await asyncio.gather(*players, merge(editor, old, into))
    assert {status for each in statuses for status in each} == {200}
    assert [(await kept(viewer))["progress"] for viewer in viewers] == [[(into, 11)]] * 8


async def test_bad_merges_change_nothing(editor: Viewer) -> None:
    old, into = await pair(editor)
    await merge(editor, old, old, 422)
    await merge(editor, old, UNKNOWN, 404)
    await merge(editor, UNKNOWN, into, 404)
    await editor.write("POST", f"/anime/{old}/merge", {"into": into, "force": True}, 422)
    stale = await editor.request("POST", f"/anime/{old}/merge", json={"into": into}, headers={"If-Match": '"x"'})
    assert stale.status_code == 412
    await editor.write("POST", f"/merges/{UNKNOWN}/undo", status=404)
    assert (await editor.read(f"/anime/{old}"))["id"] == old
    await merge(editor, old, into)
    assert (await merge(editor, old, into, 409))["message"] == "Already merged into Death Note"


async def test_split_moves_the_chosen_parts(backend: Backend, editor: Viewer) -> None:
    anime = await new_anime(editor, "Two in one")
    path = f"/anime/{anime['id']}"
    await editor.write("PATCH", path, {"external_ids": {"anidb": uuid4().hex}})
    before = await editor.read(path)
    ova = await editor.write("POST", "/releases", {"anime_id": anime["id"], "title": "OVA"}, 201)
    episodes = await editor.read(f"/episodes?release_id={anime['release']['id']}")
    viewer = await backend.viewer()
    await viewer.write("POST", "/views", {"episode_id": episodes[1]["id"], "progress": 60}, 201)
    body = {
        "title": "The other one",
        "external_ids": {"anidb": before["external_ids"]["anidb"]},
        "releases": [ova["id"]],
        "episodes": [episodes[1]["id"]],
    }
    new = await editor.write("POST", f"{path}/split", body, 201)
    assert new["external_ids"] == body["external_ids"]
    assert set((await editor.read(path))["external_ids"]) == {"anilist"}
    releases = await editor.read(f"/releases?anime_id={new['id']}")
    assert {row["title"]: row["episode_count"] for row in releases} == {"OVA": 0, "Two in one TV": 1}
    assert [row["anime_id"] for row in await viewer.read("/views")] == [new["id"]]
    assert {row["source"] for row in await editor.read(f"/anime/{new['id']}/history")} == {"split"}
    assert "split" in {row["source"] for row in await editor.read(f"{path}/history")}


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"external_ids": {"anidb": "of another anime"}},
        {"releases": [UNKNOWN]},
        {"episodes": [UNKNOWN]},
        {"seasons": [1]},
    ],
)
async def test_split_of_wrong_parts_changes_nothing(editor: Viewer, parts: dict[str, Any]) -> None:
    anime = await new_anime(editor, "Whole")
    response = await editor.request("POST", f"/anime/{anime['id']}/split", json={"title": "Part", **parts})
    assert (response.status_code, response.json()["code"]) == (422, "VALIDATION_ERROR")
    assert len(await editor.read(f"/releases?anime_id={anime['id']}")) == 1
