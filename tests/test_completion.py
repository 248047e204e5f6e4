"""Completion in shells: real ones are asked, at a terminal, and run what they have completed."""

import os
import pty
import select
import shutil
import subprocess
import time

import pytest

from jssl import completion
from jssl.__main__ import COMMANDS
from jssl.config import config_modules

FOUND = completion.Words(
  dict(train=["--config", "--workdir"], transfer=["--recipe"], evaluate=["--workdir", "--baselines"]),
  ["mmc:demo", "mmc:imagenet", "simclr:demo", "simclr:continue@"],
  ["--config.optim.lr=", "--config.optim.name=", "--config.seed="],
)
# What is typed, and the words of the line after a tabulator: what is certain stands there.
TYPED = {
  "trai": ["train"],
  "tra": ["tra"],  # train, transfer
  "ev": ["evaluate"],
  "train --w": ["train", "--workdir"],
  "evaluate --b": ["evaluate", "--baselines"],
  "train --config mm": ["train", "--config", "mmc:"],
  "train --config mmc:d": ["train", "--config", "mmc:demo"],
  "train --config simclr:c": ["train", "--config", "simclr:continue@"],
  "train --config ow": ["train", "--config", "own.py"],
  "train --config.o": ["train", "--config.optim."],
  "train --config.optim.l": ["train", "--config.optim.lr="],
  "train --config.optim.lr=1 --config.se": ["train", "--config.optim.lr=1", "--config.seed="],
  "evaluate --config.o": ["evaluate", "--config.o"],  # which takes no config
  "train --workdir ru": ["train", "--workdir", "runs"],
}
START = dict(bash=["--norc", "--noprofile", "-i"], zsh=["-f", "-i"])
COMPINIT = "autoload -U compinit; compinit -u -D"
# How a shell comes by its script, `_jssl`.
WAYS = [("bash", ". ./_jssl"), ("zsh", f"{COMPINIT}; . ./_jssl"), ("zsh", f"fpath=($PWD $fpath); {COMPINIT}")]
CALLED = "jssl() { printf '<%s>' \"$@\"; echo '<end''>'; }"


@pytest.fixture
def place(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "own.py").touch()
  (tmp_path / "other.txt").touch()
  (tmp_path / "runs").mkdir()


def typed(shell, way, lines):
  """The words with which the function `jssl` was called, of lines that each end with a tabulator."""
  child, terminal = pty.fork()
  if not child:
    os.environ.update(PS1="", TERM="dumb", HOME=os.getcwd())
    os.execvp(shell, [shell, *START[shell]])
  text, sent, until = "", 0, time.monotonic() + 60
  os.write(terminal, f"{way}; {CALLED}; echo '<begin''>'\n".encode())
  while sent <= len(lines) and time.monotonic() < until:
    if select.select([terminal], [], [], 0.2)[0]:
      text += os.read(terminal, 4096).decode()
    if text.count("<end>") + text.count("<begin>") > sent:
      if sent < len(lines):
        os.write(terminal, f"jssl {lines[sent]}\t\n".encode())
      sent += 1
  os.close(terminal)
  os.waitpid(child, 0)
  called = [line[line.index("<") :].strip() for line in text.splitlines() if line.strip().endswith("<end>")]
  return [line.removesuffix("<end>")[1:-1].split("><") for line in called]


@pytest.mark.parametrize("shell, way", WAYS)
def test_a_shell_completes(shell, way, place, tmp_path):
  if shutil.which(shell) is None:
    pytest.skip(f"{shell} is not installed")
  (tmp_path / "_jssl").write_text(completion.SHELLS[shell](FOUND))
  found = typed(shell, way, [*TYPED])
  assert {line: [word.rstrip("/") for word in words] for line, words in zip(TYPED, found, strict=True)} == TYPED


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes(place, tmp_path):
  (tmp_path / "script").write_text(completion.fish(FOUND))
  ask = lambda line: (
    subprocess.run(
      ["fish", "--no-config", "-c", f"source script; complete -C '{line}'"], capture_output=True, text=True, check=True
    ).stdout
  )
  offered = lambda line: [row.partition("\t")[0] for row in ask(line).splitlines()]
  assert offered("jssl tra") == ["train", "transfer"]
  assert offered("jssl train --w") == ["--workdir"]
  assert offered("jssl train --config mm") == ["mmc:demo", "mmc:imagenet"]
  assert offered("jssl train --config simclr:c") == ["simclr:continue@"]
  assert offered("jssl train --config ow") == ["own.py"]
  assert {*offered("jssl train --config.optim.")} == {"--config.optim.lr=", "--config.optim.name="}
  assert offered("jssl evaluate --config.o") == []
  assert offered("jssl train --workdir ru") == offered("jssl evaluate --workdir ru") == ["runs/"]


def test_what_there_is_to_complete(capsys):
  found = completion.words()
  assert found.options.keys() == COMMANDS.keys()
  assert {"--config", "--workdir", "--explain", "--distributed"} < {*found.options["train"]}
  assert {"--workdir", "--baselines", "--report"} < {*found.options["evaluate"]}
  assert all("--help" in options for options in found.options.values())
  assert {"mmc:demo", "mae:imagenet", "simclr:continue@", "distill:demo@", "bss_simclr:cifar10"} < {*found.configs}
  assert {name.partition(":")[0] for name in found.configs} == {*config_modules()}
  assert not {"isogclr:imagenet", "mmc:continue", "mmc:continue@"} & {*found.configs}
  assert "--config.optim.lr=" in found.keys and "--config.writers.tensorboard=" in found.keys
  assert completion.main(["zsh"]) == 0
  assert capsys.readouterr().out == completion.zsh(found)
