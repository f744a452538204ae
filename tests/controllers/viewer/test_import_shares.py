"""Many imports of one user at once: those of others do not wait for all of them."""

import asyncio

from tests.factories import Backend

ROWS = [{"status": "CURRENT", "media": {"idMal": 10**9 + number}} for number in range(1000)]


async def test_imports_of_one_user_leave_the_queue_to_others(backend: Backend) -> None:
    busy, other = await backend.viewer(), await backend.viewer()
    content = {"lists": [{"entries": ROWS}]}
    imports = [asyncio.create_task(busy.write("POST", "/library/import", content)) for _ in range(12)]
    await asyncio.sleep(0.05)
    await other.write("POST", "/library/import", content)
    assert sum(each.done() for each in imports) < len(imports) // 2
    for each in imports:
        assert (await each)["not_imported_count"] == len(ROWS)
