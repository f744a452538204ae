"""Two nodes of Patroni with one etcd on loopback, by deploy/patroni/patroni.yml. `make cluster` runs this module."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from tests.cli.process import free_port, until
from tests.cluster.nodes import PROGRAMS, USER

ROOT = Path(__file__).parents[2]
PATRONI = ROOT / ".local" / "patroni" / "bin" / "patroni"
ETCD = shutil.which("etcd")
NAMES = ("a", "b")
START_SECONDS = 60


class PatroniNode:
    """A node: Patroni, and the PostgreSQL that it runs."""

    def __init__(self, folder: Path, name: str, etcd_port: int) -> None:
        self.name, self.port, self._api_port = name, free_port(), free_port()
        self._folder, self._data = folder, folder / name
        self._file = folder / f"{name}.yml"
        self._file.write_text(yaml.safe_dump(self._configuration(etcd_port)))
        self._process: subprocess.Popen[bytes] | None = None

    def _configuration(self, etcd_port: int) -> dict[str, Any]:
        """Return the configuration of the repository, with the addresses and folders of this node."""
        values: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "patroni" / "patroni.yml").read_text())
        api, address = f"127.0.0.1:{self._api_port}", f"127.0.0.1:{self.port}"
        values["name"], values["etcd3"] = self.name, {"hosts": [f"127.0.0.1:{etcd_port}"]}
        values["restapi"] = {"listen": api, "connect_address": api}
        values["watchdog"] = {"mode": "off"}
        values["postgresql"] |= {
            "listen": address,
            "connect_address": address,
            "data_dir": str(self._data),
            "bin_dir": str(PROGRAMS),
            "pgpass": str(self._folder / f"{self.name}.pgpass"),
            "pg_hba": [
                "local all all trust",
                *(f"host {each} all 127.0.0.1/32 trust" for each in ("all", "replication")),
            ],
            "parameters": {"unix_socket_directories": str(self._folder), "shared_buffers": "64MB"},
        }
        return values

    def start(self) -> None:
        """Start Patroni."""
        with (self._folder / f"{self.name}.log").open("ab") as log:
            command = [str(PATRONI), str(self._file)]
            self._process = subprocess.Popen(command, user=USER, stdout=log, stderr=log, start_new_session=True)

    def role(self) -> str | None:
        """Return `primary`, `replica`, or None while it does not run."""
        with suppress(httpx.HTTPError, ValueError):
            state = httpx.get(f"http://127.0.0.1:{self._api_port}/patroni", timeout=2, trust_env=False).json()
            if state.get("state") in {"running", "streaming"}:
                return str(state["role"])
        return None

    def is_synchronous(self) -> bool:
        """Return whether it is a standby that has every acknowledged write."""
        with suppress(httpx.HTTPError):
            address = f"http://127.0.0.1:{self._api_port}/sync"
            return httpx.get(address, timeout=2, trust_env=False).status_code == httpx.codes.OK
        return False

    def kill_postgres(self) -> None:
        """Kill PostgreSQL with SIGKILL; Patroni runs on."""
        postmaster = psutil.Process(int((self._data / "postmaster.pid").read_text().split("\n", 1)[0]))
        for process in [postmaster, *postmaster.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def kill(self) -> None:
        """Kill Patroni and PostgreSQL, as the loss of the machine does."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        with suppress(FileNotFoundError, psutil.NoSuchProcess):
            self.kill_postgres()


@contextmanager
def patroni_cluster(folder: Path) -> Iterator[list[PatroniNode]]:
    """Start etcd and two nodes, and yield these when one is the primary and the other has every write."""
    assert ETCD, "etcd is not installed (Debian: etcd-server)"
    etcd_port, peer_port = free_port(), free_port()
    if USER:
        shutil.chown(folder, USER)
    client, peer = f"http://127.0.0.1:{etcd_port}", f"http://127.0.0.1:{peer_port}"
    command = [
        ETCD,
        "--data-dir",
        str(folder / "etcd"),
        "--listen-client-urls",
        client,
        "--advertise-client-urls",
        client,
    ]
    command += [
        "--listen-peer-urls",
        peer,
        "--initial-advertise-peer-urls",
        peer,
        "--initial-cluster",
        f"default={peer}",
    ]
    with (folder / "etcd.log").open("wb") as log:
        etcd = subprocess.Popen(command, user=USER, stdout=log, stderr=log)
    nodes = [PatroniNode(folder, name, etcd_port) for name in NAMES]
    try:
        for node in nodes:
            node.start()
        until(lambda: is_complete(nodes), "both nodes run", START_SECONDS)
        yield nodes
    finally:
        for node in nodes:
            node.kill()
        etcd.kill()
        etcd.wait()


def is_complete(nodes: list[PatroniNode]) -> bool:
    """Return whether there are a primary and a standby that has every write."""
    return {node.role() for node in nodes} == {"primary", "replica"} and any(node.is_synchronous() for node in nodes)


def url_of(nodes: list[PatroniNode], database: str) -> str:
    """Return the address of the server that accepts writes."""
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
    return f"postgresql://postgres@{hosts}/{database}?target_session_attrs=read-write"


def main() -> None:
    """Run a cluster until Ctrl-C."""
    with tempfile.TemporaryDirectory(prefix="kitsu-cluster-") as name:
        Path(name).chmod(0o755)
        with patroni_cluster(Path(name)) as nodes:
            print(f"DATABASE_URL='{url_of(nodes, 'postgres')}'")  # noqa: T201
            print(f"The files are in {name}. Ctrl-C stops the cluster.", flush=True)  # noqa: T201
            with suppress(KeyboardInterrupt):
                signal.pause()


if __name__ == "__main__":
    main()
