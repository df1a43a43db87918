"""`riverrun report`: a run as one page."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional


def report(
    run: Positional[Path], *, out: Path | None = None, png: Path | None = None, json: bool = False
) -> None:
    """Write a page that shows a run at a glance: one HTML file that needs no server and no network.

    Args:
        run: directory of the run.
        out: the file to write; RUN/report.html if not given, none with --json.
        png: draw the losses and learning rates as a figure too, .png or .svg (extra riverrun[report]).
        json: print what the page knows as one JSON object.
    """
    import sys

    from riverrun.cli.page import page_path, write_page
    from riverrun.errors import SettingError
    from riverrun.extras import require_packages
    from riverrun.report.facts import page_facts
    from riverrun.runs import Tree
    from riverrun.runs.metrics import to_json

    if png is not None:
        if png.suffix not in (".png", ".svg"):
            raise SettingError(f"--png: got {str(png)!r}; a figure is written as .png or .svg")
        require_packages("report --png", "report", {"matplotlib": "the figure"})
    for option, target in {"--out": out, "--png": png}.items():
        if target is None:
            continue
        if not target.parent.is_dir():
            raise SettingError(
                f"{option}: got {target}, but there is no directory {target.parent}; make it first"
            )
        if target.exists() and not target.is_file():
            raise SettingError(f"{option}: got {target}, which is there and is no file; name another")
    tree = Tree.open(run)
    facts = page_facts(tree, note=lambda text: print(text, file=sys.stderr))
    said = sys.stderr if json else sys.stdout
    if out is not None or not json:
        page = out or page_path(run)
        size = write_page(page, facts)
        print(f"{page}: {size / 1000:,.0f} kB; open it in any browser", file=said)
    if png is not None:
        from riverrun.report.figure import save_figure  # needs the extra

        try:
            save_figure(png, facts)
        except ValueError as error:
            raise SettingError(f"--png: {error}") from None
        print(f"{png}: the figure", file=said)
    if json:
        print(to_json(facts))
