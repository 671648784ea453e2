"""The manifests that a team applies: nothing dangling, no rights too many, no secret's value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "cluster" / "manifests"
READ_BY_HAND = {"TUNER_TRACKING_URI"}


def documents(path: Path) -> list[dict[str, Any]]:
    return [found for found in yaml.safe_load_all(path.read_text()) if found]


def applied() -> list[dict[str, Any]]:
    listed = documents(FOLDER / "kustomization.yaml")[0]["resources"]
    return [found for name in listed for found in documents(FOLDER / name)]


def pods() -> list[dict[str, Any]]:
    return [found["spec"]["template"]["spec"] for found in applied() if "template" in
            found.get("spec", {})]  # fmt: skip


def test_every_file_is_applied_but_the_secrets() -> None:
    listed = set(documents(FOLDER / "kustomization.yaml")[0]["resources"])
    assert listed == {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert not any(found["kind"] == "Secret" for found in applied())


def test_templates_of_secrets_hold_no_value() -> None:
    for path in (FOLDER / "secrets").glob("*.yaml"):
        for found in documents(path):
            assert found["kind"] == "Secret" and "data" not in found
            for name, value in found["stringData"].items():
                if name == "auth.ini":
                    secret = [line for line in value.splitlines() if line.startswith(
                        ("database_uri", "admin_"))]  # fmt: skip
                    assert all(line.endswith("=") for line in secret) and len(secret) == 3
                else:
                    assert not value or name in READ_BY_HAND, name


def test_secrets_that_are_named_have_templates() -> None:
    named: set[str] = set()
    for pod in pods():
        named |= {v["secret"]["secretName"] for v in pod.get("volumes", []) if "secret" in v}
        for container in pod["containers"]:
            named |= {e["secretRef"]["name"] for e in container.get("envFrom", [])}
            for variable in container.get("env", []):
                source = variable.get("valueFrom", {}).get("secretKeyRef")
                named |= {source["name"]} if source else set()
    templates = {path.stem for path in (FOLDER / "secrets").glob("*.yaml")}
    assert named == templates - {"tuner"}


def test_rights_are_what_the_commands_use() -> None:
    role = next(found for found in applied() if found["kind"] == "Role")
    rights = {
        (resource, verb)
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    jobs = {("rayjobs", v) for v in ("create", "get", "list", "watch", "patch", "delete")}
    looked_at = {(kind, verb) for kind in ("pods", "events") for verb in ("get", "list")}
    assert rights == jobs | looked_at | {("pods/log", "get")}


def test_pods_run_as_nobody_special_and_from_pinned_images() -> None:
    assert len(pods()) == 2
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["image"] == "tuner" or ":" in container["image"]
            assert not container["image"].endswith(":latest")


def test_the_image_is_built_as_it_is_tested() -> None:
    text = (FOLDER.parent / "Dockerfile").read_text()
    assert "-c constraints.txt" in text and "USER 1000" in text
    assert text.count("FROM python:${PYTHON}") == 2
