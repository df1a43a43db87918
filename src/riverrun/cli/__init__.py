"""The command line: one file per verb."""

from riverrun.cli.app import main

__all__ = ["main"]
