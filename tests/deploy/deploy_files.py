"""The files of deploy/, parsed."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from kitsu.settings.fields import SETTINGS as DECLARED

DEPLOY = Path(__file__).parents[2] / "deploy"

SETTINGS = {
    *DECLARED,
    # Read by libraries.
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "OTEL_EXPORTER_OTLP_ENDPOINT"),
}


class Stage(NamedTuple):
    """A stage of a Dockerfile: its base, and its instructions in order."""

    base: str
    instructions: list[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        """Return the arguments of all instructions with this name."""
        return [text for instruction, text in self.instructions if instruction == name]

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables of ENV; no value may contain a space."""
        pairs = (pair.partition("=") for text in self.all("ENV") for pair in text.split())
        return {name: value for name, _, value in pairs}


def stages() -> list[Stage]:
    """Return the stages of the Dockerfile."""
    lines = [line for line in _text("Dockerfile").splitlines() if not line.lstrip().startswith("#")]
    found: list[Stage] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            found.append(Stage(rest.split()[0], []))
        elif name:
            found[-1].instructions.append((name, rest.strip()))
    return found


def compose() -> dict[str, Any]:
    """Return compose.yml with its merge keys resolved, and its variables unresolved."""
    return dict(yaml.safe_load(_text("compose.yml")))


def defaults(text: str) -> str:
    """Replace the variables of a text of compose.yml by their defaults."""
    while (shorter := re.sub(r"\$\{\w+(?::[-?]([^${}]*))?\}", r"\1", text)) != text:
        text = shorter
    return text


def manifests() -> dict[str, dict[str, Any]]:
    """Return the Kubernetes manifests by kind; the Deployment of the worker is `Worker`."""
    files = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    found = [yaml.safe_load(file.read_text()) for file in files if file.name != "kustomization.yaml"]
    return {
        "Worker" if manifest["metadata"]["name"] == "kitsu-worker" else manifest["kind"]: manifest for manifest in found
    }


def pods() -> dict[str, dict[str, Any]]:
    """Return the pod specs by kind of manifest."""
    found = manifests()
    return {
        "Deployment": found["Deployment"]["spec"]["template"]["spec"],
        "Worker": found["Worker"]["spec"]["template"]["spec"],
        "Job": found["Job"]["spec"]["template"]["spec"],
    }


def unit(name: str) -> dict[str, list[str]]:
    """Return the values of each option of a systemd unit or an environment file, without sections."""
    found: dict[str, list[str]] = {}
    for line in _text(f"systemd/{name}").splitlines():
        option, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(option, []).append(value)
    return found


def seconds(text: str) -> int:
    """Parse a duration of systemd or compose; without a unit it is in seconds."""
    found = re.fullmatch(r"(\d+)([smh]?)", text)
    assert found is not None, text
    return int(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def _text(name: str) -> str:
    return (DEPLOY / name).read_text()
