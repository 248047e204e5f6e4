"""The notebooks run from top to bottom, with few steps."""

import pathlib

import nbclient
import nbformat
import pytest

NOTEBOOKS = pathlib.Path(__file__).parents[1] / "notebooks"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")))
def test_notebook(name, monkeypatch):
  monkeypatch.setenv("STEPS", "20")
  monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
  notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
  nbclient.NotebookClient(
    notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOKS)}}
  ).execute()
  outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
  assert any("image/png" in output.get("data", {}) for output in outputs)
