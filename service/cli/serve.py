"""``zkmargin serve``: the HTTP service in one of its roles."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zkmargin.circuits.errors import MalformedInput
from zkmargin.service.cli.console import reports_errors
from zkmargin.service.cli.extras import extra

if TYPE_CHECKING:
    from zkmargin.service.settings import Settings

BACKLOG = 1024


@reports_errors
def serve(
    role: Annotated[str | None, typer.Option(help="hub or verifier.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file; ZKMARGIN_... variables win over it.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one, which is told.")] = None,
    workers: Annotated[int | None, typer.Option(help="Server processes.")] = None,
) -> None:
    """Serve HTTP until SIGTERM or SIGINT; requests in progress are finished first. Diagnostics go to standard error."""
    with extra("service"):
        import uvicorn  # noqa: F401

        from zkmargin.service.settings import load_settings
    # The environment carries the command line to further server processes.
    given = {"role": role, "host": host, "port": port, "workers": workers}
    run(load_settings(config, **given), config, given)


def page_of(host: str, port: int) -> str:
    """Where a person finds the service from this machine: the address that listens, or loopback where all do."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def run(settings: Settings, config: Path | None, given: dict[str, Any]) -> None:
    """Listen and serve; returns after a graceful end."""
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    from zkmargin.service.http.edge import EdgeProtocol
    from zkmargin.service.observability import diagnostics
    from zkmargin.service.observability.metrics import DIRECTORY_VARIABLE
    from zkmargin.service.settings import CONFIG_VARIABLE, PREFIX

    if settings.role == "hub":
        from zkmargin.service.ledger.configured import expect_servable

        expect_servable(settings)
    os.environ |= {PREFIX + name.upper(): str(value) for name, value in given.items() if value is not None}
    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config.absolute())
    diagnostics.configure(settings.log_level, settings.log_format)
    # A server process that ends while its pool starts leaves semaphores to Python's tracker, whose remark when it
    # removes them is no event of these diagnostics. The tracker is a process of its own and reads this.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
    # uvicorn raises a signal again after its graceful end; that must not look like a crash.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server_config = uvicorn.Config(
        "zkmargin.service.http.app:from_environment",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        backlog=BACKLOG,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        log_config=None,
        ws="none",
        http=EdgeProtocol,
        timeout_keep_alive=settings.keep_alive,
        timeout_graceful_shutdown=settings.shutdown_timeout,
    )
    with tempfile.TemporaryDirectory(prefix="zkmargin-metrics-") as directory:
        if settings.workers > 1:
            # Before the metrics library is imported by a server process.
            os.environ.setdefault(DIRECTORY_VARIABLE, directory)
        socket = server_config.bind_socket()
        port = socket.getsockname()[1]
        page = page_of(settings.host, port)
        diagnostics.reporter().info("listening", role=settings.role, host=settings.host, port=port, page=page)
        try:
            if settings.workers > 1:
                Multiprocess(server_config, sockets=[socket]).run()
            else:
                uvicorn.Server(server_config).run(sockets=[socket])
        except SystemExit:
            raise MalformedInput("the service did not start; the diagnostics say why", field="serve") from None
        finally:
            socket.close()
