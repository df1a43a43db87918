"""The verbs put together, and errors as one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import tyro

from riverrun import __version__
from riverrun.cli.audit import audit
from riverrun.cli.average import average
from riverrun.cli.best import best
from riverrun.cli.branch import branch
from riverrun.cli.compare import compare
from riverrun.cli.data import ingest, inspect
from riverrun.cli.doctor import doctor
from riverrun.cli.export import export
from riverrun.cli.feed import feed
from riverrun.cli.generate import generate
from riverrun.cli.merge import merge
from riverrun.cli.plan import plan
from riverrun.cli.train import train
from riverrun.cli.tree import tree
from riverrun.errors import RiverrunError

# Flags without their opposites, and no "{None}|" before every optional value.
_STYLE = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)
_ABOUT = "Pretrain language models without fixing the end in advance."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when all went well, 2 for what the user can mend, else the verb's own code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if list(arguments) == ["--version"]:
        print(f"riverrun {__version__}")
        return 0
    app = tyro.extras.SubcommandApp()
    for verb in (
        train,
        branch,
        feed,
        tree,
        best,
        average,
        generate,
        export,
        merge,
        compare,
        plan,
        audit,
        doctor,
    ):
        app.command(verb)
    data = tyro.extras.SubcommandApp()
    data.command(ingest)
    data.command(inspect)
    app.command(data, name="data", help="Make a corpus from text, and show what a corpus holds.")
    try:
        code: int = app.cli(prog="riverrun", description=_ABOUT, args=arguments, config=_STYLE) or 0
        sys.stdout.flush()
        return code
    except RiverrunError as error:
        return _complain(str(error))
    except BrokenPipeError:
        # Whoever read the output went away, as in `riverrun tree RUN | head`; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror or error}")
    except KeyboardInterrupt:
        return 130


def _complain(message: str) -> int:
    print(f"riverrun: {message}", file=sys.stderr)
    return 2
