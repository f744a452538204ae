"""The Kubernetes manifests: their schemas, and updates without downtime."""

from typing import Any

import kubernetes_validate
import pytest
import yaml

from kitsu.controllers.operations.health import HealthController
from kitsu.jobs.worker import MAX_JOBS_AT_ONCE
from kitsu.settings import load_settings
from tests.deploy.deploy_files import DEPLOY, manifests, pods

FOLDER = DEPLOY / "kubernetes"
# The oldest supported version, and the newest with a schema.
VERSIONS = ("1.30", kubernetes_validate.latest_version())
POSTGRESQL_CONNECTIONS = 97
"""PostgreSQL's default max_connections, less those for superusers."""


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", manifests())
def test_manifest_is_valid(kind: str, version: str) -> None:
    kubernetes_validate.validate(manifests()[kind], version, strict=True)


def test_unknown_option_is_invalid() -> None:
    wrong = manifests()["Deployment"]
    wrong["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_kustomization_has_every_manifest_except_the_example() -> None:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    files = {file.name for file in FOLDER.glob("*.yaml")}
    assert set(kustomization["resources"]) == files - {"kustomization.yaml", "secret.example.yaml"}
    assert {image["name"] for image in kustomization["images"]} == {_container(pod)["image"] for pod in pods().values()}
    assert all(image["newTag"] != "latest" for image in kustomization["images"])


def test_manifests_have_no_namespace() -> None:
    assert all("namespace" not in manifest["metadata"] for manifest in manifests().values())


def test_update_removes_no_pod_before_another_is_ready() -> None:
    spec = manifests()["Deployment"]["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert "replicas" not in spec  # it would override the autoscaler
    assert manifests()["HorizontalPodAutoscaler"]["spec"]["minReplicas"] >= 2
    assert manifests()["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


def test_probes_have_paths_of_the_service() -> None:
    server = _container(pods()["Deployment"])
    paths = {name: server[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/health/live", "livenessProbe": "/health/live", "readinessProbe": "/health/ready"}
    served = {HealthController.path + path for path in ("/live", "/ready")}
    assert set(paths.values()) == served


def test_selectors_match_only_pods_of_the_server() -> None:
    found = manifests()
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert found["Service"]["spec"]["selector"] == labels
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert (
        found["Worker"]["spec"]["selector"]["matchLabels"] == found["Worker"]["spec"]["template"]["metadata"]["labels"]
    )
    for other in (found["Worker"], found["Job"]):
        assert other["spec"]["template"]["metadata"]["labels"] != labels
    target = found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", found["Deployment"]["metadata"]["name"])


@pytest.mark.parametrize("kind", pods())
def test_pod_has_settings_limits_and_no_privileges(kind: str) -> None:
    pod = pods()[kind]
    container = _container(pod)
    assert container["envFrom"] == [
        {"configMapRef": {"name": manifests()["ConfigMap"]["metadata"]["name"]}},
        {"secretRef": {"name": manifests()["Secret"]["metadata"]["name"]}},
    ]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]


def test_each_workload_has_its_own_command() -> None:
    commands = {kind: _container(pod)["command"] for kind, pod in pods().items()}
    assert commands == {"Deployment": ["kitsu", "serve"], "Worker": ["kitsu", "worker"], "Job": ["kitsu", "migrate"]}


def test_maximum_of_pods_fits_connections_and_memory() -> None:
    data = {**manifests()["ConfigMap"]["data"], **manifests()["Secret"]["stringData"], "SECRET_KEY": "k" * 32}
    settings = load_settings(data, FOLDER / "no.env")
    max_pods = manifests()["HorizontalPodAutoscaler"]["spec"]["maxReplicas"] + 1
    worker_connections = settings.db_pool_size + settings.db_max_overflow + 1
    jobs_connections = manifests()["Worker"]["spec"]["replicas"] * (MAX_JOBS_AT_ONCE + 3)
    assert max_pods * settings.workers * worker_connections + jobs_connections <= POSTGRESQL_CONNECTIONS
    limit = _container(pods()["Deployment"])["resources"]["limits"]["memory"]
    assert int(limit.removesuffix("Mi")) >= settings.workers * settings.worker_memory_mb + 128


def _container(pod: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod["containers"]
    return dict(container)
