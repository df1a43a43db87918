"""The verbs put together, and errors as one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import tyro

from riverrun import __version__
from riverrun.cli import landscape as landscape_lab
from riverrun.cli import theory as theory_lab
from riverrun.cli.audit import audit
from riverrun.cli.average import average
from riverrun.cli.best import best
from riverrun.cli.branch import branch
from riverrun.cli.compare import compare
from riverrun.cli.console import ranks_of_launcher, speaks
from riverrun.cli.data import ingest, inspect
from riverrun.cli.doctor import doctor
from riverrun.cli.evaluate import evaluate
from riverrun.cli.export import export
from riverrun.cli.feed import feed
from riverrun.cli.forecast import forecast
from riverrun.cli.generate import generate
from riverrun.cli.merge import merge
from riverrun.cli.plan import plan
from riverrun.cli.probe import probe
from riverrun.cli.report import report
from riverrun.cli.serve import serve
from riverrun.cli.theory_fit import fit
from riverrun.cli.track import track
from riverrun.cli.train import train
from riverrun.cli.tree import tree
from riverrun.errors import ElsewhereError, RiverrunError

# Flags without their opposites, and no "{None}|" before every optional value.
_STYLE = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)
_GROUPS = (
    ("data", "Make a corpus from text, and show what a corpus holds.", (ingest, inspect)),
    (
        "theory",
        "Linear regression as a model of pretraining: rates, methods against the lower bound, claims.",
        (theory_lab.rates, theory_lab.compare, theory_lab.figure3, fit, theory_lab.verify),
    ),
    (
        "landscape",
        "River valleys: toys that show why decays and averages work, and probes of real runs.",
        (landscape_lab.river, landscape_lab.bigram, probe, landscape_lab.verify),
    ),
)
# The verbs that train, which a launcher may start once for each device.
_ON_RANKS = ("train", "branch")
_ABOUT = "Pretrain language models without fixing the end in advance."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when all went well, 2 for what the user can mend, else the verb's own code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if ranks_of_launcher() > 1 and arguments and arguments[0] not in _ON_RANKS:
        return _complain(f"{arguments[0]}: works in one process; call it without the launcher of several")
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
        report,
        serve,
        average,
        evaluate,
        generate,
        export,
        merge,
        track,
        compare,
        forecast,
        plan,
        audit,
        doctor,
    ):
        app.command(verb)
    for name, about, verbs in _GROUPS:
        group = tyro.extras.SubcommandApp()
        for grouped in verbs:
            group.command(grouped)
        app.command(group, name=name, help=about)
    try:
        code: int = app.cli(prog="riverrun", description=_ABOUT, args=arguments, config=_STYLE) or 0
        sys.stdout.flush()
        return code
    except ElsewhereError:
        return 2
    except RiverrunError as error:
        return 2 if error.everywhere and not speaks() else _complain(str(error))
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
    if ranks_of_launcher() > 1 and not message.startswith("rank "):
        message = f"rank {os.environ['RANK']}: {message}"
    print(f"riverrun: {message}", file=sys.stderr)
    if "TORCHELASTIC_ERROR_FILE" in os.environ:
        from torch.distributed.elastic.multiprocessing.errors import get_error_handler

        get_error_handler().record_exception(RiverrunError(message))  # into torchrun's own account
    return 2
