"""Checks of the settings and of the machine's kernel."""

import os
from pathlib import Path

from kitsu.cli.checks.registry import CHECKS, Problem, Tag, check
from kitsu.settings import Settings, misspelled_names

SYSCTL = Path("/proc/sys")


@check("kitsu.W001", Tag.SETTINGS)
def misspelled_settings() -> list[Problem]:
    """Report names in `.env` that resemble a setting."""
    return [
        Problem(f".env sets {name}, which is not a setting.", f"Rename it to {similar}, or remove it.")
        for name, similar in misspelled_names().items()
    ]


@check("kitsu.E002", Tag.SETTINGS)
def silenced_checks(settings: Settings) -> list[Problem]:
    """Report ids in SILENCED_CHECKS that no check has."""
    return [
        Problem(f"SILENCED_CHECKS has the unknown id {unknown}.", "Remove it; deploy/README.md lists the checks.")
        for unknown in settings.silenced_checks
        if unknown not in CHECKS
    ]


@check("kitsu.W003", Tag.SETTINGS, deploy=True)
def no_allowed_origins(settings: Settings) -> list[Problem]:
    """Report an empty ALLOWED_ORIGINS."""
    problem = Problem(
        "ALLOWED_ORIGINS is empty: no browser page can use the API.", "Set it to the origin of the front end."
    )
    return [problem] if not settings.allowed_origins else []


@check("kitsu.W004", Tag.SETTINGS, deploy=True)
def log_level(settings: Settings) -> list[Problem]:
    """Report a LOG_LEVEL above info."""
    problem = Problem("LOG_LEVEL hides the log lines of requests and logins.", "Set LOG_LEVEL=info.")
    return [problem] if settings.log_level not in {"info", "debug"} else []


@check("kitsu.W005", Tag.SETTINGS, deploy=True)
def too_many_workers(settings: Settings) -> list[Problem]:
    """Report more than four workers for each processor."""
    problem = Problem("WORKERS is more than four for each processor.", "Lower WORKERS.")
    return [problem] if settings.workers > 4 * (os.cpu_count() or 1) else []


@check("kitsu.W006", Tag.SETTINGS, deploy=True)
def lost_connections(settings: Settings) -> list[Problem]:
    """Report a kernel that drops connections waiting for a worker."""
    problem = Problem(
        "Connections that wait for a worker are lost when the worker is replaced.",
        "Set net.ipv4.tcp_migrate_req=1 with sysctl.",
    )
    return [problem] if settings.workers > 1 and _is_off("net/ipv4/tcp_migrate_req") else []


def _is_off(name: str) -> bool:
    """Return whether the kernel has this parameter and it is 0."""
    try:
        return (SYSCTL / name).read_text(encoding="ascii").strip() == "0"
    except OSError:
        return False
