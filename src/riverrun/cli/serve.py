"""`riverrun serve`: the page of a run, live."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

if TYPE_CHECKING:
    from riverrun.report.latest import Latest
    from riverrun.report.server import PageServer

_SECONDS_BETWEEN_LOOKS = 0.2


def serve(run: Positional[Path], *, port: int = 8520) -> int:
    """Show the page of a run live while it trains, to browsers of this machine alone, until interrupted.

    Args:
        run: directory of the run.
        port: where, on 127.0.0.1; 0 takes any that is free.
    """
    import threading
    import time

    from riverrun.errors import SettingError
    from riverrun.report.latest import Latest
    from riverrun.runs import Tree
    from riverrun.train.signals import StopSignals

    if port != 0 and not 1024 <= port <= 65535:
        raise SettingError(f"--port: got {port}; must be from 1024 to 65535, or 0 for any that is free")
    latest = Latest(Tree.open(run))
    with StopSignals() as signals, _opened(port, latest) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(f"{run}: {server.address} shows it live; Ctrl-C ends this", flush=True)
        while signals.received is None:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        server.shutdown()
    return 128 + signals.received


def _opened(port: int, latest: Latest) -> PageServer:
    from riverrun.errors import SettingError
    from riverrun.report.server import PageServer

    try:
        return PageServer(port, latest)
    except OSError as error:
        raise SettingError(
            f"--port: {port} cannot be had ({error.strerror}); name another, or 0 for any that is free"
        ) from None
