"""compose.yml: services, networks, volumes and variables."""

import re
from ipaddress import ip_address, ip_network

import yaml

from tests.deploy.deploy_files import DEPLOY, SETTINGS, compose

SERVICES = compose()["services"]


def test_services_start_in_order() -> None:
    assert SERVICES["migrate"]["command"] == ["kitsu", "migrate"]
    assert SERVICES["migrate"]["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert SERVICES["migrate"]["restart"] == "no"
    assert SERVICES["kitsu"]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert SERVICES["worker"]["depends_on"] == SERVICES["kitsu"]["depends_on"]
    assert SERVICES["worker"]["command"] == ["kitsu", "worker"]
    assert SERVICES["caddy"]["depends_on"] == {"kitsu": {"condition": "service_healthy"}}


def test_only_caddy_is_reachable_from_outside() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"caddy"}
    assert (
        SERVICES["database"]["networks"]
        == SERVICES["migrate"]["networks"]
        == SERVICES["worker"]["networks"]
        == ["back"]
    )
    assert set(SERVICES["caddy"]["networks"]) == {"front"}


def test_address_of_caddy_is_trusted_and_reserved() -> None:
    address = ip_address(SERVICES["caddy"]["networks"]["front"]["ipv4_address"])
    assert str(address) == SERVICES["kitsu"]["environment"]["TRUSTED_PROXIES"]
    [front] = compose()["networks"]["front"]["ipam"]["config"]
    dynamic = ip_network(front["ip_range"])
    assert dynamic.subnet_of(ip_network(front["subnet"]))  # type: ignore[arg-type]
    for fixed in (address, ip_address(front["gateway"])):
        assert fixed in ip_network(front["subnet"])
        assert fixed not in dynamic


def test_defaults_require_no_variable() -> None:
    text = (DEPLOY / "compose.yml").read_text()
    # Compose evaluates a default even if it is not used.
    assert not re.search(r"\$\{\w+:?-[^}]*\$\{\w+:?\?", text)


def test_images_are_pinned_to_a_major_version() -> None:
    assert SERVICES["database"]["image"] == "postgres:18-bookworm"
    assert SERVICES["caddy"]["image"] == "caddy:2"
    assert SERVICES["kitsu"]["build"] == {"context": "..", "dockerfile": "deploy/Dockerfile"}


def test_volumes_and_networks_are_declared_and_files_exist() -> None:
    declared = {*compose()["volumes"]}
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in declared
        assert {*service["networks"]} <= {*compose()["networks"]}
    # Image version 18 exits if the data are mounted at the path of older versions.
    assert "database:/var/lib/postgresql" in SERVICES["database"]["volumes"]


def test_containers_have_minimal_privileges() -> None:
    for name in ("kitsu", "worker", "migrate"):
        assert SERVICES[name]["read_only"] is True
        assert SERVICES[name]["cap_drop"] == ["ALL"]
        assert "user" not in SERVICES[name]
    assert SERVICES["caddy"]["cap_add"] == ["NET_BIND_SERVICE"]


def test_variables_are_settings_or_the_site() -> None:
    text = yaml.safe_dump(compose())
    assert set(re.findall(r"\$\{(\w+)", text)) <= SETTINGS | {"KITSU_SITE"}
    variables = set(re.findall(r"\{\$(\w+)", (DEPLOY / "Caddyfile").read_text()))
    assert variables == {*SERVICES["caddy"]["environment"], "KITSU_INSTANCES"}  # there is one
