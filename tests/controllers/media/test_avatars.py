"""PATCH /users/me with an avatar and DELETE /users/me/avatar: stored and refused uploads, no file without a user."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import URL

from kitsu.domain.media.avatars import MAX_BYTES, QUEUE_SIZE
from tests import images
from tests.application import client_of
from tests.controllers.accounts.test_users import PASSWORD, Person, administrator, person, refused
from tests.databases import column, execute
from tests.images import decoded, plain
from tests.media_locations import MediaLocation

NOTES = "SELECT path FROM stray_files"


@pytest.fixture
async def database(accountless: URL) -> URL:
    await execute(accountless, "DELETE FROM stray_files")
    return accountless


@pytest.fixture
async def api(database: URL, folder: MediaLocation) -> AsyncIterator[httpx.AsyncClient]:
    """The application on an empty database and an empty folder."""
    async with client_of(database, **folder.settings, login_refusal_ms=0) as client:
        yield client


async def upload(member: Person, data: bytes, name: str = "me.png", **fields: str) -> httpx.Response:
    return await member.request("PATCH", "/users/me", files={"avatar": (name, data)}, data=fields)


async def uploaded(member: Person, data: bytes | None = None, **fields: str) -> str:
    """Upload an avatar and return the name of its file."""
    response = await upload(member, data or plain(), **fields)
    assert response.status_code == 200, response.text
    return str(response.json()["avatar"]).removeprefix("uploads/avatars/")


async def test_upload_sets_and_replaces_the_avatar(database: URL, location: MediaLocation) -> None:
    async with client_of(database, **location.settings) as client:
        member = await person(client, "member")
        response = await upload(member, plain("JPEG", (1024, 512)) + images.HTML, "../../me.html")
        user = response.json()
        name = user["avatar"].removeprefix("uploads/avatars/")
        assert response.status_code == 200
        assert user == member.user | {
            "avatar": f"uploads/avatars/{name}",
            "avatar_url": f"http://kitsu.test/media/avatars/{name}",
        }
        assert (len(name), name[32:], int(name[:32], 16) > 0) == (37, ".webp", True)
        assert list(location.files()) == [name]
        served = await client.get(user["avatar_url"])
        assert (served.headers["content-type"], served.content) == ("image/webp", location.files()[name])
        assert (decoded(served.content).format, decoded(served.content).size) == ("WEBP", (512, 256))
        assert b"script" not in served.content
        assert (await member.request("GET", "/users/me")).json() == user

        second = await uploaded(member, username="another-name")
        assert list(location.files()) == [second]
        assert second != name
        assert (await client.get(user["avatar_url"])).status_code == 404
        me = (await member.request("GET", "/users/me")).json()
        assert (me["avatar"], me["username"]) == (f"uploads/avatars/{second}", "another-name")
        assert await column(database, NOTES) == []


async def test_avatar_of_the_older_service_is_replaced(
    api: httpx.AsyncClient, database: URL, folder: MediaLocation
) -> None:
    member = await person(api, "member")
    for name in ("abc.html", "abc.фото", "a b%41.jpg"):
        folder.put(name, b"old")
        await execute(database, f"UPDATE users SET avatar = 'uploads/avatars/{name}'")
        await uploaded(member)
        assert name not in folder.files()
        assert await column(database, NOTES) == []


FORM = {"Content-Type": "multipart/form-data; boundary=x"}


def browser_form(*files: bytes) -> bytes:
    """Return the form of a browser: a name, and file fields, of which an empty one has an empty file name."""
    parts = [b'name="username"\r\n\r\nnew-name']
    for data in files:
        name = b"a.png" if data else b""
        parts.append(b'name="avatar"; filename="%s"\r\nContent-Type: application/octet-stream\r\n\r\n%s' % (name, data))
    return b"".join(b"--x\r\nContent-Disposition: form-data; %s\r\n" % part for part in parts) + b"--x--\r\n"


async def test_form_with_empty_file_field_changes_the_other_fields(
    api: httpx.AsyncClient, folder: MediaLocation
) -> None:
    member = await person(api, "member")
    name = await uploaded(member)
    headers = {**FORM, "Authorization": f"Bearer {member.tokens['access_token']}"}
    for files in ([b""], [b"", b""]):
        response = await api.patch("/users/me", content=browser_form(*files), headers=headers)
        assert response.status_code == 200, response.text
        assert response.json()["username"] == "new-name"
        assert list(folder.files()) == [name]
    response = await api.patch("/users/me", content=browser_form(b"", plain()), headers=headers)
    assert response.status_code == 200, response.text
    assert list(folder.files()) == [response.json()["avatar"].removeprefix("uploads/avatars/")] != [name]
    refused(await upload(member, b"", username="another"), 400, "The avatar is empty")


async def test_deleted_avatar_leaves_no_file(database: URL, location: MediaLocation) -> None:
    async with client_of(database, **location.settings) as client:
        member, other = await person(client, "member"), await person(client, "other")
        others = await uploaded(other)
        assert (await member.request("DELETE", "/users/me/avatar")).status_code == 204  # it does not exist
        for _ in range(2):
            url = (await upload(member, plain())).json()["avatar_url"]
            response = await member.request("DELETE", "/users/me/avatar")
            assert (response.status_code, response.content) == (204, b"")
            assert (await member.request("GET", "/users/me")).json() == member.user
            assert (await client.get(url)).status_code == 404
            assert list(location.files()) == [others]
        assert await column(database, NOTES) == []
        refused(await client.delete("/users/me/avatar"), 401)


async def test_delete_and_upload_at_once_leave_no_file_without_user(database: URL, location: MediaLocation) -> None:
    async with client_of(database, **location.settings, db_pool_size=10) as client:
        member = await person(client, "member")
        await uploaded(member)
        responses = await asyncio.gather(
            *(upload(member, plain(size=(number, 9))) for number in range(1, 5)),
            *(member.request("DELETE", "/users/me/avatar") for _ in range(4)),
        )
        assert {response.status_code for response in responses} == {200, 204}
        (avatar,) = await column(database, "SELECT avatar FROM users")
        assert [f"uploads/avatars/{name}" for name in location.files()] == ([avatar] if avatar else [])
        assert await column(database, NOTES) == []


async def test_refused_upload_changes_nothing(api: httpx.AsyncClient, database: URL, folder: MediaLocation) -> None:
    member, _ = await person(api, "member"), await person(api, "other")
    name = await uploaded(member)
    user, files = (await member.request("GET", "/users/me")).json(), folder.files()
    padded = plain() + bytes(MAX_BYTES - len(plain()) + 1)
    for data, message in (
        (b"", "The avatar is empty"),
        (images.SVG, None),
        (images.HTML, None),
        (plain()[:-30], None),
        (images.blank_png(9_000), "The avatar has 81 megapixels; the limit for PNG is 30"),
        (images.blank_png(13_000), "The avatar has more than 65 megapixels"),
        (padded, "The avatar is larger than 5 MB"),
    ):
        refused(await upload(member, data, username="another"), 400, message)
    refused(await upload(member, plain(), username="other"), 400, "Username already taken")
    refused(await upload(member, plain(), username="a b"), 422)
    bad: tuple[Any, ...] = (
        {"files": {"avatar": (None, "a text")}},
        {"files": [("avatar", ("a.png", plain())), ("avatar", ("b.png", plain()))]},
        {"files": [("avatar", ("a.png", plain())), ("avatar", (None, "text"))]},
        {"files": {"avatar": ("a.png", plain()), "username": ("b.txt", b"another")}},
    )
    for more in bad:
        refused(await member.request("PATCH", "/users/me", **more), 422)
    refused(await api.patch("/users/me", files={"avatar": ("a.png", plain())}), 401)
    assert (await member.request("GET", "/users/me")).json() == user
    assert folder.files() == files
    assert list(files) == [name]
    assert await column(database, NOTES) == []
    await uploaded(member, padded[:-1])


async def test_body_that_is_too_large_returns_413(api: httpx.AsyncClient, folder: Path) -> None:
    member = await person(api, "member")
    limit = MAX_BYTES + 64 * 1024
    head = b'--x\r\nContent-Disposition: form-data; name="avatar"; filename="a.png"\r\n\r\n'

    async def chunks(size: int) -> AsyncIterator[bytes]:
        yield head
        for start in range(len(head), size, 65_536):
            yield bytes(min(65_536, size - start))

    headers = {"Authorization": f"Bearer {member.tokens['access_token']}"}
    for media_type, size, status in (
        ("multipart/form-data; boundary=x", limit + 1, 413),
        ("multipart/form-data; boundary=x", limit, 422),
        ("application/json", 64 * 1024 + 1, 413),
        ("application/x-www-form-urlencoded", 64 * 1024 + 1, 413),
        ("image/png", 64 * 1024 + 1, 413),
    ):
        for content in (head + bytes(size - len(head)), chunks(size)):
            response = await api.patch("/users/me", content=content, headers={**headers, "Content-Type": media_type})
            refused(response, status)
    lying = {**headers, "Content-Type": "multipart/form-data; boundary=x", "Content-Length": str(limit + 1)}
    refused(await api.patch("/users/me", content=head, headers=lying), 413)


async def test_uploads_are_rate_limited(database: URL, folder: MediaLocation) -> None:
    async with client_of(database, **folder.settings, rate_limit_avatar=(2, 100)) as client:
        member, other = await person(client, "member"), await person(client, "other")
        await uploaded(member)
        refused(await upload(member, images.SVG), 400)
        files = folder.files()
        response = await upload(member, plain())
        refused(response, 429, "Too many requests")
        assert 90 < int(response.headers["retry-after"]) <= 100
        assert folder.files() == files
        assert (await member.request("PATCH", "/users/me", json={"username": "abcd"})).status_code == 200
        await uploaded(other)


async def test_concurrent_uploads_leave_one_file(database: URL, location: MediaLocation) -> None:
    async with client_of(database, **location.settings, db_pool_size=10) as client:
        member = await person(client, "member")
        responses = await asyncio.gather(*(upload(member, plain(size=(number, 9))) for number in range(1, 9)))
        assert {response.status_code for response in responses} == {200}
        (avatar,) = await column(database, "SELECT avatar FROM users")
        assert [f"uploads/avatars/{name}" for name in location.files()] == [avatar]
        assert await column(database, NOTES) == []


async def test_uploads_beyond_the_queue_return_503(api: httpx.AsyncClient, folder: MediaLocation) -> None:
    members = [await person(api, f"member{number}") for number in range(QUEUE_SIZE + 8)]
    big = plain(size=(1500, 1500))
    responses = await asyncio.gather(*(upload(member, big) for member in members))
    statuses = Counter(response.status_code for response in responses)
    assert statuses.keys() == {200, 503}
    assert len(folder.files()) == statuses[200]


async def test_uploads_of_one_user_leave_the_queue_to_others(api: httpx.AsyncClient, folder: MediaLocation) -> None:
    member, other = await person(api, "member"), await person(api, "other")
    big = plain(size=(1500, 1500))
    uploads = [asyncio.create_task(upload(member, big)) for _ in range(QUEUE_SIZE + 8)]
    await asyncio.sleep(0.1)
    response = await upload(other, big)
    assert response.status_code == 200
    assert not all(each.done() for each in uploads)
    assert {(await each).status_code for each in uploads} == {200}
    assert len(folder.files()) == 2


async def test_deleted_account_leaves_no_file(database: URL, location: MediaLocation) -> None:
    async with client_of(database, **location.settings) as client:
        boss = await administrator(client, database, "boss")
        member, other = await person(client, "member"), await person(client, "other")
        kept, others, _ = await uploaded(boss), await uploaded(other), await uploaded(member)
        assert (await member.request("DELETE", "/users/me", json={"password": PASSWORD})).status_code == 204
        assert set(location.files()) == {kept, others}
        assert (await boss.request("DELETE", f"/users/{other.id}")).status_code == 204
        assert list(location.files()) == [kept]
        assert await column(database, NOTES) == []
        refused(await boss.request("DELETE", f"/users/{boss.id}"), 400)
        assert list(location.files()) == [kept]


def test_checkout_has_no_uploads() -> None:
    assert os.environ.get("MEDIA_URL") is None
    assert not (Path(__file__).parents[2] / "uploads").exists()


async def test_openapi_describes_the_avatar_as_a_file(api: httpx.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()
    paths, schemas = document["paths"], document["components"]["schemas"]
    content = paths["/users/me"]["patch"]["requestBody"]["content"]
    names = {media_type: body["schema"]["$ref"].rpartition("/")[2] for media_type, body in content.items()}
    assert names.pop("multipart/form-data") == "ProfileForm"
    assert set(names.values()) == {"ProfileChange"}
    assert set(schemas["ProfileForm"]["properties"]) == {"username", "timezone", "is_public", "avatar"}
    assert set(schemas["ProfileChange"]["properties"]) == {"username", "timezone", "is_public"}
    assert schemas["ProfileForm"]["properties"]["avatar"]["format"] == "binary"
    for status in ("200", "206"):
        assert list(paths["/media/avatars/{name}"]["get"]["responses"][status]["content"]) == ["image/webp"]
