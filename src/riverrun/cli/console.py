"""A console whose reader may go away."""

from __future__ import annotations

import os

from rich.console import Console


class PatientConsole(Console):
    """Falls silent when its reader goes away, as in `riverrun train ... | head`, where rich would end the process.

    Training is worth more than its progress: the run goes on to its end.
    """

    def on_broken_pipe(self) -> None:
        """Say nothing from now on."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
