"""A small front end for the tests, which serves one page at each path."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

FOLDER = Path(__file__).parent


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments, directory=str(FOLDER))  # type: ignore[arg-type] # the arguments of a server

    def send_head(self) -> object:  # type: ignore[override] # what the base class returns
        if self.path != "/app.js":
            self.path = "/index.html"
        return super().send_head()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def front_end_running() -> Iterator[str]:
    """Serve the front end, and yield its origin."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
