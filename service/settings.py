"""Configuration of the service: command line over environment (``ZKMARGIN_...``) over TOML file over defaults.

Secrets are ``SecretStr``; no repr, diagnostics or error message shows a value.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SecretStr, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from zkmargin.circuits.errors import MalformedInput

PREFIX = "ZKMARGIN_"
#: Names the configuration file for worker processes, which are started without a command line.
CONFIG_VARIABLE = "ZKMARGIN_CONFIG"
MIB = 1024 * 1024

Role = Literal["hub", "verifier"]
#: A web origin as browsers send it (RFC 6454, 6.2): scheme, host, port where it is not the usual one. Or any of them.
_ORIGIN = r"^(\*|https?://([a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(:[0-9]{1,5})?)$"
Origin = Annotated[str, StringConstraints(pattern=_ORIGIN)]


class Settings(BaseSettings):
    """Everything that an operator may choose. Times in seconds unless the name says otherwise."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True
    )
    config_file: ClassVar[Path | None] = None

    role: Role = Field(
        default="verifier", description="hub keeps the ledger; verifier is stateless and holds no secret"
    )
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8080, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    workers: int = Field(default=1, ge=1, le=64, description="server processes")

    database_url: SecretStr = Field(
        default=SecretStr("sqlite:///zkmargin.db"), description="hub: SQLAlchemy URL of the ledger; may hold a password"
    )
    storage_keys: SecretStr | None = Field(
        default=None, description="hub: keys of the encryption at rest, 64 hex digits each; the first one seals"
    )
    storage_keys_file: Path | None = Field(default=None, description="hub: file that holds storage_keys instead")
    database_pool: int = Field(
        default=3, ge=1, le=200, description="hub: database connections of a server process; more wait for each other"
    )
    database_lock_timeout: Annotated[float, Field(ge=0.1, le=60)] = Field(
        default=3.0, description="hub: to wait for a lock of the database; then 503"
    )
    database_statement_timeout: Annotated[float, Field(ge=1, le=600)] = Field(
        default=30.0, description="hub: for one statement on PostgreSQL; then 503"
    )
    database_idle_timeout: Annotated[float, Field(ge=0.5, le=60)] = Field(
        default=5.0, description="hub: of a transaction on PostgreSQL whose process stands still; then it is undone"
    )
    sweep_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=5.0, description="hub: how often due credits are expired and old nonces dropped"
    )
    min_horizon: int = Field(default=60, ge=1, le=366 * 86400, description="hub: smallest horizon of a statement")
    max_horizon: int = Field(default=3600, ge=1, le=366 * 86400, description="hub: largest horizon of a statement")
    snapshot_grace: int = Field(default=60, ge=0, le=86400, description="hub: how long a superseded snapshot is good")
    max_credit_seconds: int = Field(default=7 * 86400, ge=1, le=366 * 86400, description="hub: longest credit")
    report_grace: int = Field(default=60, ge=0, le=86400, description="hub: late reports after a credit's end")
    max_failed_proofs: int = Field(default=100, ge=1, description="hub: false proofs in a row that open a breaker")
    jump_ppm: int = Field(default=500_000, ge=1, description="hub: a mark's jump that opens the hub's breaker")
    claim_seconds: int = Field(
        default=10, ge=1, le=600, description="hub: until a try that stands still is overtaken by a repeated request"
    )

    hub_keys: tuple[Path, ...] = Field(
        default=(), description="PEM files of trusted hubs; callers may name another key in a verify call"
    )
    oracle_keys: tuple[Path, ...] = Field(default=(), description="PEM files of trusted oracles")
    cors_origins: tuple[Origin, ...] = Field(
        default=(), description="web origins whose pages may verify and read the API description; * is all"
    )
    rules: tuple[str, ...] = Field(
        default=(), description="ids of installed distributions' rules that snapshots may name; their code is trusted"
    )
    snapshots: tuple[Path, ...] = Field(default=(), description="snapshot files that calls may name by digest alone")

    max_body_bytes: int = Field(default=MIB, ge=1024, description="largest body of a call without a snapshot")
    max_document_bytes: int = Field(default=16 * MIB, ge=1024, description="largest body of a call with a snapshot")
    max_pending_bytes: int = Field(default=256 * MIB, ge=1024, description="all bodies being read or worked on")
    max_concurrency: int = Field(default=512, ge=1, description="requests in progress in one process; then 503")
    max_strangers: int = Field(
        default=64, ge=1, description="hub: verify calls in progress in one process; more wait a moment, then 503"
    )
    max_connections: int = Field(default=4096, ge=1, description="open connections of one process; more are dropped")
    header_timeout: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=10.0, description="to receive a request line with its headers"
    )
    body_timeout: Annotated[float, Field(gt=0, le=3600)] = Field(default=20.0, description="to receive a whole body")
    write_timeout: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=20.0, description="for a client to read on in an answer; then its connection is dropped"
    )
    keep_alive: int = Field(default=15, ge=0, le=3600, description="idle time of a kept connection")
    shutdown_timeout: int = Field(default=20, ge=0, le=3600, description="for requests in progress after SIGTERM")

    pool_processes: int = Field(
        default=0, ge=0, le=256, description="verification processes of one server process; 0: by the cores, at least 2"
    )
    ledger_processes: int = Field(
        default=0, ge=0, le=256, description="hub: as many for the proofs of its own callers; 0: as pool_processes"
    )
    batch_wait_ms: float = Field(default=2.0, ge=0, le=5, description="longest wait for company in a batch")
    max_batch: int = Field(default=64, ge=1, le=1024, description="most proofs in one pairing check")
    max_queue: int = Field(default=1024, ge=1, description="jobs that wait for a verification process; then 503")
    job_timeout: Annotated[float, Field(gt=0, le=600)] = Field(
        default=20.0, description="for one batch; then its process is replaced"
    )
    snapshot_cache_bytes: int = Field(default=64 * MIB, ge=0, description="snapshots remembered by digest")
    worker_snapshots: int = Field(default=8, ge=1, le=256, description="parsed snapshots that each process keeps")

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "json"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line, environment, file."""
        return (
            init_settings,
            env_settings,
            TomlConfigSettingsSource(settings_cls, toml_file=cls.config_file),
        )

    def processes(self) -> int:
        """Verification processes of one server process: as given, or the cores divided among the server processes.

        At least two, so that heavy work leaves one for the rest.
        """
        return self.pool_processes or max(2, (os.cpu_count() or 1) // self.workers)


def load_settings(config: Path | None = None, **given: Any) -> Settings:
    """Read the configuration; ``given`` (from the command line) wins, None in it means not given.

    Raises ``MalformedInput`` naming the setting; the message never holds its value.
    """
    if config is not None and not config.is_file():
        raise MalformedInput("no such file", field="config")
    # Bound to a class of its own, because sources are made by the class, and two files may be read in one process.
    bound: type[Settings] = type("Settings", (Settings,), {"config_file": config, "__module__": __name__})
    try:
        return bound(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as err:
        first = err.errors(include_url=False, include_context=False, include_input=False)[0]
        raise MalformedInput(first["msg"], field=".".join(map(str, first["loc"])) or "config") from None
    except ValueError as err:
        # TOML syntax, or a list in the environment that is no JSON.
        raise MalformedInput(f"not readable ({type(err).__name__})", field="config") from None
