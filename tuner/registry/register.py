"""A packaged winner as a version in MLflow's model registry."""

from __future__ import annotations

import hashlib
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tuner.addresses import without_credentials
from tuner.registry.package import (
    PACKAGE_FILE,
    WEIGHTS_FILE,
    Package,
    PackagedDetector,
    load_package,
)
from tuner.tracking.store import database_lock, error_code, make_client, quiet_mlflow, refused
from tuner.tracking.tracker import Tracker
from tuner.tracking.values import clean_tags

CHALLENGER = "challenger"
PACKAGE_TAG = "tuner.package"
MODEL_TAG = "tuner.logged_model"
ARTIFACT = "model"

_ABOUT = """Visual anomaly detectors for `{name}`, each the winner of a study by tuner, chosen
without labels. `challenger` is the newest one; `champion` the one that `tuner promote` accepted.

```python
import tuner
found = tuner.load("{name}@champion").predict("part.png")
found["score"], found["verdict"], found["map"]
```
"""

_TRIES = 5
_REQUIREMENTS = ("tuner", "torch", "numpy", "safetensors", "pillow", "kornia", "mlflow")

T = TypeVar("T")


class RegistryError(RuntimeError):
    """The registry could not take a version; nothing points to a half-made one."""


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a registered model and the alias that was pointed at it."""

    name: str
    version: int
    alias: str
    uri: str


def model_name(category: str) -> str:
    """The registered model's name of a category: what MLflow's URIs and searches give a meaning is
    replaced."""
    plain = re.sub(r"[/:@\\\x00-\x1f]+", "-", category).strip() or "model"
    return plain.replace('"', "-") if "'" in plain else plain


def of_name(name: str) -> str:
    """The search that finds a registered model's versions. MLflow's has no way to escape a quote,
    but takes either kind around a name."""
    quote = '"' if "'" in name else "'"
    return f"name={quote}{name}{quote}"


def register_winner(
    tracker: Tracker | str,
    run_id: str,
    folder: Path,
    name: str,
    tags: Mapping[str, str],
    *,
    description: str = "",
) -> RegisteredVersion:
    """Log a package as a model of the winner's run and register it as the category's challenger.

    `tracker` is a tracker or a tracking URI, `folder` what `save_package` wrote, `name` the
    category; `description` is Markdown for the version's page. The package is loaded first: what
    cannot be loaded is not registered. Registering the same package for the same run again returns
    the version there is. Of several processes registering at once each gets its own version, and
    the alias ends at the newest.

    Raises PackageError for a broken package and RegistryError where the store is away.
    """
    packaged = load_package(folder)
    uri, run = _where(tracker, run_id)
    try:
        with database_lock(uri):
            client = make_client(uri)
            client.search_registered_models(max_results=1)
        name = model_name(name)
        all_tags = clean_tags({**_facts(packaged), **tags, PACKAGE_TAG: package_digest(folder)})
        version = _known(client, name, run, all_tags[PACKAGE_TAG])
        if version is None:
            version = _make_version(
                client, run, folder, packaged, name=name, tags=all_tags, description=description
            )
        _point_at_newest(client, name)
    except Exception as error:
        raise RegistryError(
            without_credentials(
                f"the registry {uri} did not take the model {name} ({error}); the package is kept "
                f"in {folder}"
            )
        ) from error
    return RegisteredVersion(name, version, CHALLENGER, f"models:/{name}@{CHALLENGER}")


def package_digest(folder: Path) -> str:
    """SHA-256 of a package's files, which a version keeps as its tag `tuner.package`.

    Raises OSError where one is missing.
    """
    digest = hashlib.sha256()
    for name in (PACKAGE_FILE, WEIGHTS_FILE):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def save_model(folder: Path, target: Path, packaged: PackagedDetector, **ids: str) -> None:
    """Write a package as an MLflow model folder with signature, example and requirements."""
    import numpy as np

    mlflow = quiet_mlflow()
    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import Schema, TensorSpec

    outputs = [
        TensorSpec(np.dtype(np.float64), (-1,), "score"),
        TensorSpec(np.dtype(bool), (-1,), "verdict"),
        TensorSpec(np.dtype(np.float64), (-1,), "threshold"),
        TensorSpec(np.dtype(np.float64), (-1,), "false_positive_rate"),
        TensorSpec(np.dtype(np.float64), (-1,), "score_over_threshold"),
    ]
    if packaged.localises:
        outputs.append(TensorSpec(np.dtype(np.float32), (-1, *packaged.package.size), "map"))
    mlflow.pyfunc.save_model(
        str(target),
        mlflow_model=Model(**ids),
        loader_module="tuner.registry.pyfunc",
        data_path=str(folder),
        signature=ModelSignature(
            Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))]), Schema(outputs)
        ),
        input_example=np.full((1, 16, 16, 3), 128, np.uint8),
        pip_requirements=_requirements(),
    )


def _where(tracker: Tracker | str, run_id: str) -> tuple[str, str]:
    if isinstance(tracker, str):
        return tracker, run_id
    run = tracker.resolve(run_id)
    if run is None:
        raise RegistryError(
            f"the run of the winner is not in {tracker.place} yet ({tracker.last_error}); the "
            "store must be there to register a model"
        )
    return tracker.uri, run


def _make_version(
    client: Any,
    run: str,
    folder: Path,
    packaged: PackagedDetector,
    *,
    name: str,
    tags: Mapping[str, str],
    description: str,
) -> int:
    """Log the model, and only when all its files are there, register it."""
    from mlflow.entities import LoggedModelOutput

    experiment = client.get_run(run).info.experiment_id
    model = client.create_logged_model(
        experiment, name=ARTIFACT, source_run_id=run, tags=dict(tags), model_type="detector"
    )
    try:
        with tempfile.TemporaryDirectory() as scratch:
            target = Path(scratch) / ARTIFACT
            save_model(folder, target, packaged, run_id=run, model_id=model.model_id)
            client.log_model_artifacts(model.model_id, str(target))
    except Exception:
        client.finalize_logged_model(model.model_id, "FAILED")
        raise
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run, [LoggedModelOutput(model.model_id, step=0)])
    _again(partial(_ensure_model, client, name))
    version = _again(
        partial(
            client.create_model_version,
            name,
            source=model.artifact_location,  # a models:/ URI would be sought in the global store
            run_id=run,
            tags={**tags, MODEL_TAG: model.model_id},
            model_id=model.model_id,
            description=description or None,
        )
    )
    return int(version.version)


def _ensure_model(client: Any, name: str) -> None:
    try:
        client.create_registered_model(name, description=_ABOUT.format(name=name))
    except Exception as error:
        if error_code(error) != "RESOURCE_ALREADY_EXISTS":
            raise
        if not client.get_registered_model(name).description:
            client.update_registered_model(name, description=_ABOUT.format(name=name))


def _known(client: Any, name: str, run: str, digest: str) -> int | None:
    """The version that was made of this package for this run before, if any."""
    found = [
        int(version.version)
        for version in client.search_model_versions(f"run_id='{run}'")
        if version.name == name and version.tags.get(PACKAGE_TAG) == digest
    ]
    return max(found, default=None)


def _point_at_newest(client: Any, name: str) -> None:
    """Point the alias at the newest version of ours, and look again until that is still so.

    MLflow cannot compare and set an alias. Whoever writes last has read the list of versions
    after every other version was made, so no interleaving leaves the alias behind.
    """
    pointed = -1
    while True:
        newest = max(
            int(version.version)
            for version in client.search_model_versions(of_name(name))
            if PACKAGE_TAG in version.tags
        )
        if newest <= pointed:
            return
        _again(partial(client.set_registered_model_alias, name, CHALLENGER, str(newest)))
        pointed = newest


def _again(write: Callable[[], T]) -> T:
    """Repeat what another process's write to the same database may have spoilt."""
    for attempt in range(_TRIES):
        try:
            return write()
        except Exception as error:
            if refused(error) or attempt == _TRIES - 1:
                raise
            time.sleep(0.1 * 2**attempt)
    raise AssertionError("unreachable")


def backbone_tags(package: Package) -> dict[str, str]:
    """Which frozen networks a package stands on, and the SHA-256 of their weights; empty where it
    has none."""
    if not package.backbones:
        return {}
    return {
        "tuner.backbone": ",".join(each.name for each in package.backbones),
        "tuner.backbone_sha256": ",".join(each.digest for each in package.backbones),
        "tuner.backbone_origin": "; ".join(each.origin for each in package.backbones),
    }


def _facts(packaged: PackagedDetector) -> dict[str, object]:
    package = packaged.package
    return {
        **backbone_tags(package),
        "tuner.category": package.category,
        "tuner.study": package.study,
        "tuner.method": package.method,
        "tuner.fingerprint": package.fingerprint,
        "tuner.size": f"{package.size[0]}x{package.size[1]}",
        "tuner.threshold": repr(package.threshold),
        "tuner.false_positive_rate": repr(package.false_positive_rate),
    }


def _requirements() -> list[str]:
    from importlib.metadata import version

    return [f"{name}=={version(name)}" for name in _REQUIREMENTS]
