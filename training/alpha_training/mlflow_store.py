"""Runs and models in an MLflow store, and one back: as a candidate, byte for byte what was registered.

A run's figures become metrics, its recipe parameters, its files artifacts. A model version keeps its artifact folder
and its registry entry (``entry.json``) as files, their hashes as tags. Statuses become aliases; an alias never becomes
a status: what comes from a store is a candidate, whatever it is called there.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from alpha.documents import convert, read_json, to_json
from alpha.engine import choose_engine
from alpha.errors import AlphaError, DataError, ModelError, RegistryError, need
from alpha.models.load import LoadedModel, load_artifact, read_file, verify_files
from alpha.models.metadata import decode, is_model_id
from alpha.registry import Entry, Registry, load, load_trusted, register
from alpha.registry.artifact import place
from alpha_training import mlflow_address

STATUS_ALIASES = {"production": "production", "candidate": "candidate"}
"""Status here -> alias there, of the version that has the status (of candidates the newest). Archived versions have
a tag only: they are many, and an alias names one."""
_ENTRY = "entry.json"
_LIMIT = 512 * 1024 * 1024
_URI = re.compile(r"models:/([A-Za-z0-9_.\-]+)(?:@([A-Za-z0-9_\-]+)|/([0-9]+))")
_RUN_FILES = ("recipe.json", "environment.json", "metrics.json", "walkforward.json", "summary.json")
_BATCH = 100


@dataclass(frozen=True)
class Imported:
    """What came in: its entry here, its folder, what serves it and why, and what it was called there."""

    entry: Entry
    folder: Path
    engine: str
    reason: str
    status_there: str
    approved_there: list[str]


class Store:
    """An MLflow tracking and model store; made by :func:`opened`."""

    def __init__(self, client: Any, uri: str) -> None:
        self._client, self.uri = client, uri

    def log_run(self, folder: Path, experiment: str = "alpha") -> str:
        """A folder that ``alpha train``, ``walkforward`` or ``backtest`` wrote; the id of its run there."""
        found = {name: folder / name for name in _RUN_FILES if (folder / name).is_file()}
        if not found.keys() & {"metrics.json", "walkforward.json", "summary.json"}:
            raise DataError(
                f"{folder} is no finished run: it has no metrics.json, walkforward.json or summary.json of alpha train, "
                "walkforward or backtest"
            )
        read = {name: read_json(path.read_bytes(), str(path), DataError) for name, path in found.items()}
        tags = {"alpha.kind": "run", "alpha.folder": folder.resolve().name}
        manifest = folder / "snapshot" / "manifest.json"
        if manifest.is_file():
            lineage = read_json(manifest.read_bytes(), str(manifest), DataError)
            names = ("data_sha256", "definition_hash", "git_commit")
            tags |= {f"alpha.{n}": str(lineage[n]) for n in names if lineage.get(n)}
        params = dict(_leaves(read.get("recipe.json", {}), ""))
        metrics = {
            name: value
            for file in ("metrics.json", "walkforward.json", "summary.json")
            for name, value in _numbers(read.get(file, {}), "")
        }
        run = self._run(experiment, folder.resolve().name, tags)
        entities = need("mlflow.entities", "mlflow")
        now = run.info.start_time
        items = [entities.Param(_name(k), v[:6000]) for k, v in params.items()]
        for a in range(0, len(items), _BATCH):
            self._client.log_batch(run.info.run_id, params=items[a : a + _BATCH])
        figures = [entities.Metric(_name(k), v, now, 0) for k, v in metrics.items()]
        for a in range(0, len(figures), _BATCH):
            self._client.log_batch(run.info.run_id, metrics=figures[a : a + _BATCH])
        for path in [*found.values(), *sorted(folder.glob("*.png")), *sorted(folder.glob("*.html"))]:
            self._client.log_artifact(run.info.run_id, str(path))
        if manifest.is_file():
            self._client.log_artifact(run.info.run_id, str(manifest), "snapshot")
        self._client.set_terminated(run.info.run_id)
        return str(run.info.run_id)

    def register(
        self, registry: Path, uri: str, *, run_id: str | None = None, experiment: str = "alpha"
    ) -> tuple[Any, Entry]:
        """A version of our registry with all of its files; again for one that is there: its entry, status and aliases
        are brought up to date. The version there, and its entry here."""
        book = load_trusted(registry)
        entry, model = book.load_model(uri)
        problems: list[str] = []
        verify_files(model.directory, model.metadata, problems.append)
        if problems:
            raise ModelError(problems[0])
        there = self._version_of(entry)
        if there is None:
            there = self._create(entry, model, run_id, experiment)
        elif run_id not in (None, there.run_id):
            raise RegistryError(
                f"{entry.label} is registered there already, by run {there.run_id}, and a version keeps its run: leave --run "
                "away to bring its entry, status and aliases up to date"
            )
        written = to_json(entry)
        if there.tags.get("alpha.entry_sha256") != _sha256(written):
            self._client.log_text(there.run_id, written.decode(), f"{_folder(entry)}/{_ENTRY}")
            self._client.set_model_version_tag(entry.id, there.version, "alpha.entry_sha256", _sha256(written))
        self.align(book, entry.id)
        return self._client.get_model_version(entry.id, there.version), entry

    def align(self, book: Registry, name: str) -> None:
        """Tags and aliases of a model's versions there as their statuses are here."""
        ours = {e.number: e for e in book.document.models if e.id == name}
        wanted: dict[str, tuple[int, str]] = {}
        for there in self._versions(name):
            entry = ours.get(int(there.tags.get("alpha.version", "0")))
            if entry is None or entry.sha256 != there.tags.get("alpha.sha256"):
                continue
            self._client.set_model_version_tag(name, there.version, "alpha.status", entry.status)
            alias = STATUS_ALIASES.get(entry.status)
            if alias is not None and wanted.get(alias, (0, ""))[0] < entry.number:
                wanted[alias] = (entry.number, str(there.version))
        present = self._client.get_registered_model(name).aliases
        for alias in STATUS_ALIASES.values():
            if alias in wanted:
                self._client.set_registered_model_alias(name, alias, wanted[alias][1])
            elif alias in present:  # nothing has this status any more
                self._client.delete_registered_model_alias(name, alias)

    def take(self, uri: str, registry: Path) -> Imported:
        """``models:/NAME@ALIAS`` or ``models:/NAME/3`` (their number) as a candidate of our registry.

        Every file is compared with the hashes that the metadata, the entry and the tags name, the graph is verified and
        judged as for any model; then the same bytes are placed under the same id and version. RegistryError if the
        version is there already, ModelError if anything is not what was registered.
        """
        there = self._resolve(uri)
        with tempfile.TemporaryDirectory(prefix="alpha-mlflow-") as folder:
            files = self._fetched(there, uri, Path(folder))
            raw = files.pop(_ENTRY, b"")
            if _sha256(raw) != there.tags["alpha.entry_sha256"]:
                raise ModelError(f"{uri}: {_ENTRY} was altered: its sha256 is not what the version's tag says")
            origin = convert(read_json(raw, _ENTRY, ModelError), Entry, f"{uri}: {_ENTRY}", ModelError)
            folder_here = _free_place(registry, origin, uri)
            chosen = _chosen(files, origin, there.tags["alpha.metadata_sha256"], uri)
            draft = Path(folder) / "checked"
            place(draft, chosen)
            loaded = load_artifact(
                draft,
                expect_sha256=there.tags["alpha.sha256"],
                expect_metadata_sha256=there.tags["alpha.metadata_sha256"],
            )
            _agree(loaded, origin, uri)
            engine = choose_engine(loaded)
            if engine.model is None and engine.verdict is not None and not engine.verdict.good:
                raise ModelError(f"{uri} cannot be served: {engine.reason}")
        place(folder_here, chosen)
        entry = msgspec.structs.replace(
            origin,
            status="candidate",
            approved_by=[],
            path=(folder_here / "model.onnx").relative_to(_root(registry)).as_posix(),
        )
        register(registry, entry, by=f"imported from MLflow, {uri}")
        return Imported(entry, folder_here, engine.name, engine.reason, origin.status, origin.approved_by)

    def _create(self, entry: Entry, model: LoadedModel, run_id: str | None, experiment: str) -> Any:
        tags = {
            "alpha.version": str(entry.number),
            "alpha.sha256": entry.sha256,
            "alpha.metadata_sha256": model.metadata_sha256,
            "alpha.definition_hash": entry.feature_definition.hash,
        }
        if run_id is None:
            run = self._run(experiment, entry.label, {"alpha.kind": "model", **tags})
        else:
            run = self._client.get_run(run_id)
        at = run.info.run_id
        self._client.log_artifacts(at, str(model.directory), _folder(entry))
        if run_id is None:
            self._client.set_terminated(at)
        if not any(m.name == entry.id for m in self._client.search_registered_models(f"name = '{entry.id}'")):
            self._client.create_registered_model(entry.id)
        return self._client.create_model_version(
            entry.id, source=f"{run.info.artifact_uri}/{_folder(entry)}", run_id=at, tags=tags
        )

    def _version_of(self, entry: Entry) -> Any:
        """The version there with these bytes; RegistryError if one with this number has others."""
        for there in self._versions(entry.id):
            if there.tags.get("alpha.version") == str(entry.number):
                if there.tags.get("alpha.sha256") != entry.sha256:
                    raise RegistryError(
                        f"{mlflow_address.shown(self.uri)} has another {entry.label}, with model sha256 {there.tags.get('alpha.sha256')}: "
                        "delete it there, or use another store"
                    )
                return there
        return None

    def _versions(self, name: str) -> Iterator[Any]:
        token: str | None = None
        while True:
            page = self._client.search_model_versions(f"name = '{name}'", page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _resolve(self, uri: str) -> Any:
        match = _URI.fullmatch(uri)
        if not match:
            raise RegistryError(f"{uri!r} is not understood: write models:/NAME@ALIAS or models:/NAME/NUMBER")
        name, alias, number = match.groups()
        if alias is not None:
            there = self._client.get_model_version_by_alias(name, alias)
        else:
            there = self._client.get_model_version(name, number)
        lacks = [t for t in ("sha256", "metadata_sha256", "entry_sha256") if not there.tags.get(f"alpha.{t}")]
        if lacks or not there.run_id:
            raise ModelError(
                f"{uri} was not registered by  alpha mlflow register  (it has no tag alpha.{(lacks or ['sha256'])[0]}): "
                "download its ONNX file and use  alpha import"
            )
        return there

    def _fetched(self, there: Any, uri: str, folder: Path) -> dict[str, bytes]:
        """The version's files by name; subfolders, which no artifact has, are left out."""
        run = self._client.get_run(there.run_id)
        root = f"{run.info.artifact_uri}/"
        if not there.source.startswith(root):
            raise ModelError(f"{uri}: its source {there.source} lies outside of its run: it was not registered by us")
        inside = there.source.removeprefix(root)
        got = Path(self._client.download_artifacts(there.run_id, inside, str(folder)))
        return {p.name: read_file(got, p.name, _LIMIT) for p in sorted(got.iterdir()) if p.is_file()}

    def _run(self, experiment: str, name: str, tags: dict[str, str]) -> Any:
        known = self._client.get_experiment_by_name(experiment)
        where = _artifacts_of(self.uri)
        at = known.experiment_id if known is not None else self._client.create_experiment(experiment, where)
        return self._client.create_run(at, run_name=name, tags=tags)


@contextmanager
def opened(uri: str) -> Iterator[Store]:
    """The store at ``sqlite:///FILE``, another database, or a server's ``http(s)://…``. AlphaError if
    nobody answers there within about 12 s, if the database cannot be opened, or if it has no such model, run or alias,
    MissingExtraError without MLflow. MLflow's telemetry is switched off."""
    mlflow_address.check(uri)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        need("sqlalchemy", "mlflow")
        mlflow = need("mlflow", "mlflow")
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            mlflow_address.ask(mlflow, uri)
            client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
            yield Store(client, uri)
        except mlflow.exceptions.MlflowException as exc:
            raise AlphaError(f"--store {mlflow_address.shown(uri)}: {str(exc).splitlines()[0]}") from None


def _artifacts_of(uri: str) -> str | None:
    """Of a local database: a folder beside it, wherever a command is run. A server knows its own."""
    if not uri.startswith("sqlite:///"):
        return None
    file = Path(uri.removeprefix("sqlite:///")).absolute()
    return (file.parent / "mlartifacts").as_uri()


def _folder(entry: Entry) -> str:
    return f"alpha/{entry.id}/v{entry.number}"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _root(registry: Path) -> Path:
    return load(registry).root if registry.exists() else registry.resolve().parent


def _free_place(registry: Path, origin: Entry, uri: str) -> Path:
    """Where the artifact goes; RegistryError if something is there."""
    if not is_model_id(origin.id):
        raise ModelError(f"{uri}: {origin.id!r} is no model id")
    if registry.exists():
        for e in load(registry).document.models:
            if (e.id, e.number) == (origin.id, origin.number):
                what = "with the same bytes" if e.sha256 == origin.sha256 else "with other bytes"
                raise RegistryError(f"model {origin.label} is already registered in {registry}, {what}")
    folder = _root(registry) / "artifacts" / origin.id / f"v{origin.number}"
    if folder.exists():
        raise RegistryError(f"artifact folder {folder} already exists, and no model of {registry} lies there: move it")
    return folder


def _chosen(files: dict[str, bytes], origin: Entry, metadata_sha256: str, uri: str) -> dict[str, bytes]:
    """The files that something vouches for: metadata.json, those it hashes, a later certificate of the definition. A
    verdict that was stored elsewhere is about another build, and stays behind."""
    wanted = {"metadata.json": origin.metadata_sha256 or metadata_sha256}
    if origin.feature_definition.parity:
        wanted[origin.feature_definition.parity] = origin.feature_definition.parity_sha256
    _compared(files, wanted, uri)
    wanted |= decode(files["metadata.json"], f"{uri}: metadata.json").sha256
    _compared(files, wanted, uri)
    return {name: files[name] for name in wanted}


def _compared(files: dict[str, bytes], wanted: dict[str, str], uri: str) -> None:
    for name, expected in wanted.items():
        if name not in files:
            raise ModelError(f"{uri}: {name} is missing")
        if _sha256(files[name]) != expected:
            raise ModelError(f"{uri}: {name} was altered: its sha256 is {_sha256(files[name])}, not {expected}")


def _agree(loaded: LoadedModel, origin: Entry, uri: str) -> None:
    """ModelError unless entry and artifact speak of one model."""
    meta = loaded.metadata
    if (meta.model_id, meta.version, loaded.sha256) != (origin.id, origin.number, origin.sha256):
        raise ModelError(
            f"{uri}: its entry is that of {origin.label}, its artifact that of {meta.model_id} v{meta.version}"
        )
    if list(origin.input_features) != meta.feature_names:
        raise ModelError(f"{uri}: its entry and its metadata name different features")


def _name(text: str) -> str:
    """As MLflow takes names."""
    return re.sub(r"[^A-Za-z0-9_\-. /]", "_", text)[:250]


def _leaves(value: Any, at: str) -> Iterator[tuple[str, str]]:
    """``data.simulate.n_events`` -> its value as text."""
    if isinstance(value, dict):
        for k, v in value.items():
            yield from _leaves(v, f"{at}.{k}" if at else str(k))
    elif isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
        for k, v in enumerate(value):
            yield from _leaves(v, f"{at}.{v.get('id', k)}")
    elif value is not None:
        yield at, value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _numbers(value: Any, at: str) -> Iterator[tuple[str, float]]:
    """Every finite figure by its path; records of a list by their name or fold."""
    if isinstance(value, dict):
        for k, v in value.items():
            yield from _numbers(v, f"{at}.{k}" if at else str(k))
    elif isinstance(value, list):
        for v in value:
            if isinstance(v, dict) and ("name" in v or "fold" in v):
                yield from _numbers(v, f"{at}.{v.get('name', v.get('fold'))}")
    elif isinstance(value, (bool, int, float)) and math.isfinite(value):
        yield at, float(value)
