"""The Chromium of this machine, for tests in a real browser."""

import os
import shutil

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
needs_chromium = pytest.mark.skipif(
    # CI installs a browser and sets KITSU_BROWSER, so that nothing is skipped there.
    CHROMIUM is None and not os.environ.get("KITSU_BROWSER"),
    reason="NOT TESTED: no Chromium on this machine (Debian: apt install chromium)",
)


def chromium() -> str:
    """Return the path of the program."""
    assert CHROMIUM is not None, "KITSU_BROWSER is set, and there is no Chromium"
    return CHROMIUM
