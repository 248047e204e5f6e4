"""`jssl COMMAND`: that each is what `python -m` runs."""

import configparser
import importlib
import pathlib
import subprocess
import sys

import pytest

from jssl import __main__ as commands

ROOT = pathlib.Path(__file__).parents[1]


def test_all_that_python_m_runs_is_a_command():
  files = [path for path in (ROOT / "jssl").rglob("*.py") if 'if __name__ == "__main__":' in path.read_text()]
  modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files} - {"jssl.__main__"}
  assert modules == {module for module, _ in commands.COMMANDS.values()}
  parser = configparser.ConfigParser()
  parser.read(ROOT / "setup.cfg")
  assert parser["options.entry_points"]["console_scripts"].strip() == "jssl = jssl.__main__:main"


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_a_command_takes_what_its_module_takes(name, monkeypatch):
  module = importlib.import_module(commands.COMMANDS[name][0])
  monkeypatch.setattr(module, "main", lambda argv: (module.__name__, argv))
  more = ["--explain"] if name == "explain" else []
  assert commands.main([name, "--a", "b"]) == (commands.COMMANDS[name][0], ["--a", "b", *more])


def test_alone_it_lists_them_and_a_wrong_one_is_a_line(capsys):
  for argv in ([], ["--help"]):
    assert commands.main(argv) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in commands.COMMANDS)
  assert commands.main(["trian"]) == 2
  assert "error: jssl has no command 'trian'; did you mean 'train'" in capsys.readouterr().err


def test_a_list_costs_no_jax():
  code = "import sys; from jssl.__main__ import main; main([]); assert 'jax' not in sys.modules"
  found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
  assert "  evaluate " in found.stdout
