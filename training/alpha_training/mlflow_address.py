"""Where an MLflow store is, as it may be printed, and whether one is there: known in seconds, in one sentence."""

from __future__ import annotations

import os
import re
from typing import Any

from alpha.errors import AlphaError, need

DATABASE, SERVER = ("sqlite:///", "postgresql", "mysql", "mssql"), ("http://", "https://")
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""For the first question to a server, where the user has not said otherwise: at most about 12 s."""


def check(uri: str) -> None:
    """AlphaError for what is neither a database nor a server."""
    if not uri.startswith((*DATABASE, *SERVER)):
        raise AlphaError(f"--store {shown(uri)}: MLflow keeps models in a database: use e.g. sqlite:///mlflow.db")


def ask(mlflow: Any, uri: str) -> None:
    """AlphaError if no MLflow server answers there within about 12 s, or if the database cannot be opened."""
    if uri.startswith(SERVER):
        _server(mlflow, uri)
    else:
        _database(uri)


def shown(uri: str) -> str:
    """The store's address as it may be printed: without a password."""
    return re.sub(r"(://[^/@]*?):[^/]*@", r"\1:***@", uri)


def _server(mlflow: Any, uri: str) -> None:
    """One question with little patience, before what may take long: MLflow's own patience is minutes of silence."""
    before = {name: os.environ.get(name) for name in _PATIENCE}
    os.environ.update({name: value for name, value in _PATIENCE.items() if before[name] is None})
    try:
        mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments(max_results=1)
    except mlflow.exceptions.MlflowException as exc:
        told = str(exc).partition("\n")[0]
        code = re.search(r"failed with error code (\d+)", told)
        why = f"it answers {code[1]}" if code else "nobody answers" if "exceeded with url" in told else told
        raise AlphaError(
            f"--store {shown(uri)}: no MLflow server can be used there: {why}: start one (mlflow server), or see "
            "address and credentials"
        ) from None
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


def _database(uri: str) -> None:
    """Open it and read its tables' names; MLflow would try for minutes, printing what the driver says."""
    sqlalchemy = need("sqlalchemy", "mlflow")
    limits = {"connect_timeout": 10} if uri.startswith(("postgresql", "mysql")) else {}
    try:
        engine = sqlalchemy.create_engine(uri, connect_args=limits)
        try:
            with engine.connect() as connection:
                sqlalchemy.inspect(connection).get_table_names()
        finally:
            engine.dispose()
    except (sqlalchemy.exc.SQLAlchemyError, ImportError, ValueError) as exc:
        why = str(getattr(exc, "orig", None) or exc).strip().partition("\n")[0]
        todo = (
            "name a file in a folder that exists" if uri.startswith("sqlite") else "start it, or see address and driver"
        )
        raise AlphaError(f"--store {shown(uri)}: the database cannot be opened: {why}: {todo}") from None
