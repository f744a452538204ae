"""Imports of catalogue files: upload, dry run, confirmation, progress; and the list of jobs."""

import json
import re
from typing import Any

import httpx

from kitsu.domain.catalogue.importing.steps import run_step
from tests.admin.browser import Browser
from tests.databases import engine_of
from tests.factories import Backend


def catalogue(*titles: str) -> bytes:
    """Return the file of a catalogue."""
    entries = [
        {
            "sources": [f"https://anilist.co/anime/{abs(hash(title)) % 10**8}"],
            "title": title,
            "type": "TV",
            "episodes": 12,
            "status": "FINISHED",
            "animeSeason": {"season": "FALL", "year": 2006},
            "picture": "https://pictures.example.org/1.jpg",
            "thumbnail": "https://pictures.example.org/1t.jpg",
            "synonyms": [],
            "tags": [],
        }
        for title in titles
    ]
    return "\n".join(json.dumps(entry) for entry in entries).encode()


async def upload(browser: Browser, name: str, content: bytes) -> httpx.Response:
    """Send a file with the form of the page."""
    return await browser.send("/imports", files={"file": (name, content)})


async def run(backend: Backend, page: str, *, dry_run: bool) -> None:
    """Run the job of an import here, in place of a worker."""
    found = re.search(r"/imports/([0-9a-f-]{36})", page)
    assert found
    async with engine_of(backend.url) as engine:
        await run_step(engine, found[1], dry_run=dry_run)  # type: ignore[arg-type] # the text of an id


async def test_uploaded_file_is_checked_and_imported_after_the_confirmation(admin: Browser, backend: Backend) -> None:
    response = await upload(admin, "C:\\files\\new.jsonl", catalogue("<b>New</b> anime", "Second new anime"))
    location = response.headers["location"].removeprefix("/admin")
    assert location.endswith("?done=file-uploaded")
    path = location.partition("?")[0]
    page = await admin.open(location)
    assert "The file is stored." in page
    assert "The file waits for a worker." in page
    assert "Import the file" not in page
    assert "hx-refresh" not in (await admin.client.get(f"/admin{path}/progress")).headers
    await run(backend, path, dry_run=True)
    assert (await admin.client.get(f"/admin{path}/progress")).headers["hx-refresh"] == "true"
    page = await admin.open(path)
    assert "The import would change this." in page
    assert "<dt>Added</dt><dd>2</dd>" in page
    assert "&lt;b&gt;New&lt;/b&gt; anime" in page
    search = {"q": "second new anime"}
    assert (await backend.client.get("/search/anime", params=search)).json() == []
    response = await admin.send(path, action=f"{path}/start")
    assert response.headers["location"] == f"/admin{path}?done=import-started"
    assert (await admin.client.post(f"/admin{path}/start", data=csrf(await admin.open(path)))).status_code == 409
    await run(backend, path, dry_run=False)
    assert "The import changed this." in await admin.open(path)
    assert (await backend.client.get("/search/anime", params=search)).json()[0]["title"] == "Second new anime"
    page = await admin.open("/audit", params={"source": "import"})
    assert "Second new anime" in page


async def test_discarded_import_is_gone(admin: Browser, backend: Backend) -> None:
    path = (await upload(admin, "x.jsonl", catalogue("Discarded anime"))).headers["location"].removeprefix("/admin")
    path = path.partition("?")[0]
    await run(backend, path, dry_run=True)
    assert (await admin.send(path, action=f"{path}/discard")).headers[
        "location"
    ] == "/admin/imports?done=import-discarded"
    assert "Import not found" in await admin.open(path, 404)


async def test_broken_file_fails_with_a_reason(admin: Browser, backend: Backend) -> None:
    path = (await upload(admin, "broken.jsonl", b"{")).headers["location"].removeprefix("/admin").partition("?")[0]
    await run(backend, path, dry_run=True)
    page = await admin.open(path)
    assert 'role="alert">' in page
    assert "Import the file" not in page


async def test_other_files_are_refused_with_the_message_at_the_field(admin: Browser) -> None:
    for name, content, message in (
        ("cat.png", b"png", "The name of a catalogue ends in"),
        ("empty.jsonl", b"", "The file is empty"),
    ):
        response = await upload(admin, name, content)
        assert response.status_code == 422
        assert message in response.text
        assert 'aria-invalid="true"' in response.text
    response = await admin.send("/imports")
    assert response.status_code == 422
    assert "Choose a file" in response.text


async def test_too_large_file_gets_a_page(admin: Browser) -> None:
    response = await upload(admin, "large.jsonl", b" " * (64 << 20))
    assert response.status_code == 413
    assert "Too large" in response.text


async def test_failed_job_is_listed_and_queued_again(admin: Browser, backend: Backend) -> None:
    await upload(admin, "failing.jsonl", catalogue("Failing anime"))
    await backend.rows.execute("UPDATE pgqueuer SET status = 'failed'")
    job = await backend.rows.fetchval("SELECT max(id) FROM pgqueuer")
    assert "<dt>Failed jobs</dt><dd>0</dd>" not in await admin.open("/")
    page = await admin.open("/jobs")
    assert "failed" in page
    response = await admin.send("/jobs", action=f"/jobs/{job}/retry")
    assert response.headers["location"] == "/admin/jobs?done=job-retried"
    assert await backend.rows.fetchval("SELECT status::text FROM pgqueuer WHERE id = $1", job) == "queued"
    response = await admin.client.post(f"/admin/jobs/{job}/retry", data=csrf(await admin.open("/jobs")))
    assert response.status_code == 404


async def test_editors_see_imports_and_no_jobs(editor: Browser) -> None:
    assert "File" in await editor.open("/imports")
    assert "No access" in await editor.open("/jobs", 403)


def csrf(page: str) -> dict[str, Any]:
    """Return the token of a page."""
    found = re.search('name="_csrf_token" value="([^"]+)"', page)
    assert found
    return {"_csrf_token": found[1]}
