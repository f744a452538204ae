"""Connect to the first of several hosts that is the wanted server.

asyncpg gives all hosts of an address one limit of time together: a host that accepts and never answers uses it up.
"""

from typing import Any

import asyncpg

_good: dict[tuple[tuple[str, ...], tuple[int, ...]], int] = {}
"""By the hosts and ports of an address, the number of the one that was reached last."""


async def connect(*address: Any, **arguments: Any) -> asyncpg.Connection:
    """Connect as asyncpg does, with an equal part of `timeout` for each host, first to that reached last."""
    hosts = arguments.get("host")
    if not isinstance(hosts, list):
        return await asyncpg.connect(*address, **arguments)
    key = tuple(hosts), tuple(arguments["port"])
    last = _good.get(key, 0)
    limit = arguments["timeout"] / len(hosts)
    errors: list[Exception] = []
    for number in sorted(range(len(hosts)), key=lambda each: each != last):
        one = {"host": hosts[number], "port": arguments["port"][number], "timeout": limit}
        try:
            connection = await asyncpg.connect(**{**arguments, **one})
        except (OSError, asyncpg.PostgresError, asyncpg.InternalClientError) as error:
            errors.append(error)
        else:
            _good[key] = number
            return connection
    # A server that refuses says more than one that is away.
    raise next((error for error in errors if isinstance(error, asyncpg.PostgresError)), errors[0])
