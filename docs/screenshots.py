"""The pictures of the page in these docs: make screenshots RUN=runs/quickstart

Wants Chromium and its driver (Debian: chromium, chromium-driver).
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

from selenium import webdriver

from riverrun.report.facts import page_facts
from riverrun.report.page import render
from riverrun.runs import Tree

FIGURES = Path(__file__).parent / "figures"
PICTURES = {  # name: width, height, colours
    "page-light": (1200, 1500, "light"),
    "page-dark": (1200, 1500, "dark"),
    "page-narrow": (360, 900, "light"),
}


def browser() -> webdriver.Chrome:
    """Chromium without a window."""
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars"):
        options.add_argument(argument)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


def main(run: str) -> None:
    """Write all pictures of a run's page."""
    page = render(page_facts(Tree.open(Path(run))))
    chromium = browser()
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "report.html")
            file.write_text(page, encoding="utf-8")
            for name, (width, height, colours) in PICTURES.items():
                size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
                chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
                scheme = {"features": [{"name": "prefers-color-scheme", "value": colours}]}
                chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
                chromium.get(file.as_uri())
                time.sleep(1)  # the charts are drawn after the page is loaded
                chromium.save_screenshot(str(FIGURES / f"{name}.png"))
    finally:
        chromium.quit()


if __name__ == "__main__":
    main(sys.argv[1])
