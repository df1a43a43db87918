import importlib.util
import subprocess
import sys

import pytest

from riverrun.extras import MissingPackageError, require_packages

INTEGRATIONS = {
    "transformers": "transformers",
    "lightning": "lightning",
    "torchtitan": "torchtitan",
    "optax": "optax",
}


def test_what_is_missing_is_named_with_its_use_and_its_extra():
    require_packages("train", "data", {"numpy": "arrays"})
    with pytest.raises(ImportError) as caught:
        require_packages("forecast", "labs", {"numpy": "arrays", "no_such_package": "the figure"})
    assert isinstance(caught.value, MissingPackageError)
    assert str(caught.value) == "forecast: needs no_such_package for the figure. pip install 'riverrun[labs]'"


def test_a_folder_of_that_name_is_not_the_package(tmp_path, monkeypatch):
    (tmp_path / "no_such_package").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.util.find_spec("no_such_package") is not None
    with pytest.raises(MissingPackageError):
        require_packages("track", "wandb", {"no_such_package": "its runs"})


@pytest.mark.parametrize("extra", INTEGRATIONS)
def test_an_integration_without_its_package_says_which_extra_brings_it(extra):
    code = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "{INTEGRATIONS[extra]}":
            raise AssertionError("imported before it was asked for")

import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "{INTEGRATIONS[extra]}" else found(name, *rest)
sys.meta_path.insert(0, Absent())
try:
    import riverrun.integrations.{extra}
except ImportError as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip().endswith(f"pip install 'riverrun[{extra}]'")


def test_the_torch_integration_needs_no_extra():
    code = (
        "import sys, riverrun.integrations.torch; print([name for name in sys.modules if name in {'transformers',\
'lightning', 'jax', 'torchtitan', 'wandb', 'mlflow'}])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
