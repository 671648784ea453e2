"""Versions of registered models: looking them up, and getting their packages."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuner.addresses import file_name, local_path, sqlite_path, without_credentials
from tuner.registry.package import PACKAGE_FILE
from tuner.registry.register import (
    CHALLENGER,
    PACKAGE_TAG,
    RegistryError,
    model_name,
    of_name,
    package_digest,
)
from tuner.tracking.store import (
    CredentialsRefused,
    beside,
    credentials_refused,
    error_code,
    make_client,
)

CHAMPION = "champion"
RETIRED_TAG = "tuner.retired"


@dataclass(frozen=True)
class Version:
    """One version of a category's registered model."""

    name: str
    number: int
    tags: Mapping[str, str] = field(repr=False)
    run: str = ""

    @property
    def study(self) -> str:
        return self.tags.get("tuner.study", "")

    @property
    def retired(self) -> str | None:
        """Why it was withdrawn; None where it was not."""
        return self.tags.get(RETIRED_TAG)


@contextmanager
def speaking_to(uri: str) -> Iterator[Any]:
    """A client of a registry; whatever goes wrong with the store is a RegistryError.

    Raises RegistryError, too, where an SQLite registry does not exist: asking must not make one.
    """
    path = sqlite_path(uri)
    if path is not None and not path.is_file():
        raise RegistryError(
            f"there is no registry at {path}; launch a study first, or give the one that holds the "
            "model by --tracking-uri"
        )
    try:
        yield make_client(uri)
    except ImportError as error:
        raise RegistryError(
            f"the registry {without_credentials(uri)} needs the Python package {error.name}; for "
            "PostgreSQL: pip install 'tuner[cluster]'"
        ) from None
    except (RegistryError, ValueError, LookupError):
        raise
    except Exception as error:
        if not type(error).__module__.startswith(("mlflow", "sqlalchemy", "requests", "urllib3")):
            raise
        if credentials_refused(error):
            raise RegistryError(f"the registry {CredentialsRefused(uri)}") from error
        text = (str(error).splitlines() or [""])[0][:300]
        raise RegistryError(
            without_credentials(
                f"the registry {uri} is away or refuses ({type(error).__name__}: {text}); nothing "
                "was changed by this call that `tuner history` does not show"
            )
        ) from error


def by_number(client: Any, category: str, number: int) -> Version:
    """Raises LookupError listing the versions there are."""
    name = model_name(category)
    try:
        return _version(client.get_model_version(name, str(number)))
    except Exception as error:
        if error_code(error) not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
    there = sorted(version.number for version in all_versions(client, category))
    if not there:
        raise LookupError(_unknown(client, category))
    raise LookupError(f"{category} has no version {number}; there are: {_listed(there)}")


def by_alias(client: Any, category: str, alias: str) -> Version | None:
    """The version that an alias points at; None where it points at none.

    Raises LookupError for a category without a model.
    """
    return _pointed(client, category).get(alias)


def _pointed(client: Any, category: str) -> dict[str, Version]:
    name = model_name(category)
    try:
        model = client.get_registered_model(name)
    except Exception as error:
        if error_code(error) != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise LookupError(_unknown(client, category)) from None
    return {
        alias: _version(client.get_model_version(name, str(number)))
        for alias, number in model.aliases.items()
    }


def all_versions(client: Any, category: str) -> list[Version]:
    """Every version of ours, oldest first."""
    found = client.search_model_versions(of_name(model_name(category)))
    ours = [_version(version) for version in found if PACKAGE_TAG in version.tags]
    return sorted(ours, key=lambda version: version.number)


def demanded(client: Any, category: str, alias: str) -> Version:
    """`by_alias`, where a version must be there. Raises LookupError."""
    found = by_alias(client, category, alias)
    if found is not None:
        return found
    cure = {
        CHAMPION: f"make one by: tuner promote {category}",
        CHALLENGER: "launch a study, or name a version",
    }.get(alias, "see: tuner history " + category)
    raise LookupError(f"{category} has no {alias}; {cure}")


def fetch(client: Any, uri: str, version: Version, models: Path) -> Path:
    """The folder of a version's package: where the registry keeps it, or a copy below `models`.

    A copy that is not what was registered is fetched again. Raises RegistryError where the files
    are gone, or are damaged where the registry keeps them.
    """
    source = client.get_model_version_download_uri(version.name, str(version.number))
    local = local_path(source)
    if local is None or not local.is_absolute():
        label = hashlib.blake2b(
            f"{without_credentials(uri)} {source}".encode(), digest_size=8
        ).hexdigest()
        copy = models / f"{file_name(version.name)}-{version.number}-{label}"
        return _whole(copy, version) or _fetched(source, uri, copy, version)
    if not local.is_dir():
        local = beside(uri, source) or local
    found = _package_in(local)
    if found is None:
        raise RegistryError(
            f"version {version.number} of {version.name} has lost its files: there is no "
            f"{PACKAGE_FILE} under {local}; restore that folder, or launch its study again"
        )
    return found


def _package_in(folder: Path) -> Path | None:
    return next((found.parent for found in sorted(folder.rglob(PACKAGE_FILE))), None)


def _whole(folder: Path, version: Version) -> Path | None:
    """The package below a folder; None where there is none, or not as it was registered."""
    found, registered = _package_in(folder), version.tags.get(PACKAGE_TAG)
    try:
        return found if found and registered in (None, package_digest(found)) else None
    except OSError:
        return None


def _fetched(source: str, uri: str, copy: Path, version: Version) -> Path:
    """The package of a copy that is missing or damaged, downloaded in its place."""
    from mlflow.artifacts import download_artifacts

    name, place = f"version {version.number} of {version.name}", without_credentials(source)
    state = f"is damaged in {copy}" if copy.exists() else "is not on this machine"
    copy.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=copy.parent) as scratch:
        try:
            new = f"{scratch}/new"
            arrived = Path(download_artifacts(artifact_uri=source, dst_path=new, tracking_uri=uri))
        except Exception as error:
            if credentials_refused(error):
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
            raise RegistryError(
                without_credentials(
                    f"{name} {state}, and cannot be fetched from {source} ({reason}); try again "
                    "when that store answers"
                )
            ) from error
        if _whole(arrived, version) is None:
            raise RegistryError(
                f"{name} is damaged where the registry keeps it: what {place} holds is not what "
                "was registered; restore it from a backup, or launch its study again"
            )
        # Another process may have been quicker.
        if (found := _whole(copy, version)) is not None:
            return found
        if copy.exists():
            copy.rename(Path(scratch) / "damaged")
        arrived.rename(copy)
    return _package_in(copy) or copy


def _version(raw: Any) -> Version:
    return Version(raw.name, int(raw.version), dict(raw.tags), raw.run_id or "")


def _unknown(client: Any, category: str) -> str:
    names = sorted(model.name for model in client.search_registered_models())
    return f"no model of {category!r} is registered; there are: {', '.join(names) or 'none yet'}"


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
