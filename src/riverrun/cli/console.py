"""Who talks to the user, and a console whose reader may go away."""

from __future__ import annotations

import os

from rich.console import Console


def ranks_of_launcher() -> int:
    """How many processes the launcher of this one started to train together; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def speaks() -> bool:
    """Whether this process is the one of them that talks to the user."""
    return ranks_of_launcher() == 1 or os.environ["RANK"] == "0"


class PatientConsole(Console):
    """Falls silent when its reader goes away, as in `riverrun train ... | head`, where rich would end the process.

    Training is worth more than its progress: the run goes on to its end.
    """

    def on_broken_pipe(self) -> None:
        """Say nothing from now on."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
