"""Imports on the admin site: upload, dry run, confirmation; and the list of jobs."""

import json
import re
from uuid import UUID, uuid4

import httpx

from kitsu.domain.catalogue.importing.steps import run_step
from tests.admin.browser import Browser, Page
from tests.admin.test_anime import api
from tests.databases import engine_of
from tests.factories import Backend


async def upload(browser: Browser, name: str, content: bytes) -> httpx.Response:
    fields = Page(await browser.open("/imports")).forms["/admin/imports"]
    token = {"_csrf_token": fields["_csrf_token"]}
    return await browser.client.post("/admin/imports", data=token, files={"file": (name, content)})


def catalogue(*titles: str) -> bytes:
    number = int(uuid4().hex[:12], 16)
    rest = {"type": "TV", "episodes": 2, "status": "FINISHED"}
    lines = [
        {"title": title, "sources": [f"https://myanimelist.net/anime/{number + place}"], **rest}
        for place, title in enumerate(titles)
    ]
    return "\n".join(json.dumps(line) for line in ({"license": {}}, *lines)).encode() + b"\n"


async def work(backend: Backend, run_id: str, *, dry_run: bool) -> None:
    """Do what a worker does."""
    async with engine_of(backend.url) as engine:
        await run_step(engine, UUID(run_id), dry_run=dry_run)


async def test_file_is_checked_then_imported(editor: Browser, backend: Backend) -> None:
    word = uuid4().hex
    response = await upload(editor, "catalogue.jsonl", catalogue(f"<i>{word}", f"Other {word}"))
    assert response.status_code == 303, response.text
    path = response.headers["location"].removeprefix("/admin").partition("?")[0]
    run_id = path.removeprefix("/imports/")
    assert "The file waits for a worker." in await editor.open(path)
    assert "progress" in await editor.open(f"{path}/progress")
    await work(backend, run_id, dry_run=True)
    assert (await editor.client.get(f"/admin{path}/progress")).headers["hx-refresh"] == "true"
    page = await editor.open(path)
    assert "Nothing is changed yet." in page
    assert f"&lt;i&gt;{word}" in page
    assert await api(editor, f"/search/anime?q={word}") == []
    assert (await editor.send(path, action=f"{path}/start")).status_code == 303
    await work(backend, run_id, dry_run=False)
    assert "The import changed this." in await editor.open(path)
    assert len(await api(editor, f"/search/anime?q={word}")) == 2
    assert "catalogue.jsonl" in await editor.open("/imports")


async def test_discarded_file_is_not_imported(editor: Browser, backend: Backend) -> None:
    response = await upload(editor, "catalogue.jsonl", catalogue("Discarded"))
    path = response.headers["location"].removeprefix("/admin").partition("?")[0]
    await work(backend, path.removeprefix("/imports/"), dry_run=True)
    response = await editor.send(path, action=f"{path}/discard")
    assert response.headers["location"] == "/admin/imports?done=import-discarded"
    await editor.open(path, status=404)


async def test_broken_file_fails_with_the_reason(editor: Browser, backend: Backend) -> None:
    response = await upload(editor, "catalogue.jsonl", b"no catalogue\n")
    path = response.headers["location"].removeprefix("/admin").partition("?")[0]
    await work(backend, path.removeprefix("/imports/"), dry_run=True)
    page = await editor.open(path)
    assert re.search('role="alert">[^<]+', page)
    assert "Import the file" not in page


async def test_refused_uploads_name_the_reason(editor: Browser) -> None:
    for name, content, message in (
        ("a.png", b"x", "The name of a catalogue ends in"),
        ("a.json", b"", "The file is empty"),
    ):
        response = await upload(editor, name, content)
        assert response.status_code == 422
        assert message in response.text
    forged = await editor.client.post("/admin/imports", data={"file": "a.json"})
    assert forged.status_code == 403


async def test_failed_job_is_listed_and_retried(admin: Browser, editor: Browser, backend: Backend) -> None:
    await upload(editor, "catalogue.jsonl", catalogue("Queued"))
    await backend.rows.execute("UPDATE pgqueuer SET status = 'failed'")
    retry = re.search(r'action="/admin(/jobs/\d+/retry)"', await admin.open("/jobs"))
    assert retry
    assert (await admin.send("/jobs", action=retry[1])).headers["location"] == "/admin/jobs?done=job-retried"
    await editor.open("/jobs", status=403)
