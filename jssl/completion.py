"""Prints what makes a shell complete `jssl`: commands, their options, configs with their presets, and keys of a config.

The script holds the names, so that nothing is loaded while one types; write it again after an update. It needs bash
4.3 or newer.
"""

import argparse
from collections.abc import Iterator
import contextlib
import importlib
import io
import re
import shlex
import sys
from typing import NamedTuple

from jssl import config as configs
from jssl.__main__ import COMMANDS
from jssl.errors import ConfigError, UnknownPresetError

PRESETS = ("demo", "cifar10", "imagenet", "continue")


class Words(NamedTuple):
  """What there is to complete.

  Attributes:
    options: of each command, such as "--workdir".
    configs: with their presets, such as "mmc:demo"; those that end with an @ want a network behind it.
    keys: of configs, as options: "--config.optim.lr=".
  """

  options: dict[str, list[str]]
  configs: list[str]
  keys: list[str]


def words() -> Words:
  """All of jssl's."""
  names = [f"{name}:{preset}" for name in sorted(configs.config_modules()) for preset in presets(name)]
  flat = configs.flatten(configs.default_config())
  keys = [f"--config.{key}=" for key, value in flat.items() if not hasattr(value, "keys")]
  return Words({name: options(name) for name in COMMANDS}, names, keys)


def presets(config: str) -> Iterator[str]:
  """The presets of a config."""
  for preset in PRESETS:
    try:
      configs.load_config(f"{config}:{preset}")
    except ConfigError as error:
      if not isinstance(error.__cause__, UnknownPresetError):  # there is one, which wants a network
        yield f"{preset}@"
    else:
      yield preset


def options(command: str) -> list[str]:
  """The options that a command's `--help` names."""
  text = io.StringIO()
  with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
    importlib.import_module(COMMANDS[command][0]).main(["--help"])
  return re.findall(r"^  (?:-\w, )?(--[a-z][\w-]*)", text.getvalue(), re.MULTILINE)


BASH = """\
_jssl() {{
  local line=${{COMP_LINE:0:COMP_POINT}} options='' breaks cut
  local -a words
  read -ra words <<< "$line"
  [[ $line == *[[:space:]] ]] && words+=('')
  local cur=${{words[-1]}} previous=${{words[-2]}}
  case ${{words[1]}} in
{cases}
  esac
  if (( ${{#words[@]}} == 2 )); then
    COMPREPLY=($(compgen -W '{commands}' -- "$cur"))
  elif [[ $previous == --config ]]; then
    COMPREPLY=($(compgen -W "$_jssl_configs" -- "$cur") $(compgen -f -X '!*.py' -- "$cur"))
  elif [[ $cur == -* ]]; then
    [[ " $options " == *' --config '* ]] && options+=" $_jssl_keys"
    COMPREPLY=($(compgen -W "$options" -- "$cur"))
  fi
  (( ${{#COMPREPLY[@]}} == 1 )) && [[ ${{COMPREPLY[0]}} == *[=@] ]] && compopt -o nospace
  # The shell takes what stands behind a : or = for a word of its own, and puts only that in.
  for breaks in : =; do
    [[ $COMP_WORDBREAKS == *$breaks* && $cur == *$breaks* ]] || continue
    cut=${{cur%"${{cur##*$breaks}}"}}
    COMPREPLY=("${{COMPREPLY[@]#"$cut"}}") cur=${{cur#"$cut"}}
  done
}}
_jssl_configs='{configs}'
_jssl_keys='{keys}'
complete -o default -F _jssl jssl
"""

ZSH = """\
#compdef jssl
_jssl() {{
  local options=''
  case ${{words[2]}} in
{cases}
  esac
  if (( CURRENT == 2 )); then
    compadd -- {commands}
  elif [[ ${{words[CURRENT-1]}} == --config ]]; then
    compadd -- {configs}
    _files -g '*.py'
  elif [[ ${{words[CURRENT]}} == -* ]]; then
    compadd -- ${{=options}}
    [[ " $options " == *' --config '* ]] && compadd -S '' -- {keys}
  else
    _files
  fi
}}
# Found in $fpath, this file is the function's body the first time; elsewhere it is sourced.
if [[ ${{funcstack[1]}} == _jssl ]]; then _jssl "$@"; else compdef _jssl jssl; fi
"""


def bash(found: Words) -> str:
  lists = dict(commands=" ".join(found.options), configs=" ".join(found.configs), keys=" ".join(found.keys))
  return BASH.format(cases=_cases(found), **lists)


def zsh(found: Words) -> str:
  lists = dict(commands=" ".join(found.options), configs=" ".join(found.configs), keys=" ".join(found.keys))
  return ZSH.format(cases=_cases(found), **lists)


def _cases(found: Words) -> str:
  return "\n".join(f"    {command}) options='{' '.join(flags)}' ;;" for command, flags in found.options.items())


def fish(found: Words) -> str:
  lines = [
    f"complete -c jssl -n __fish_use_subcommand -f -a {command} -d {shlex.quote(COMMANDS[command][1])}"
    for command in found.options
  ]
  for command, flags in found.options.items():
    start = f"complete -c jssl -n '__fish_seen_subcommand_from {command}'"
    for flag in flags:
      values = f" -x -a '{' '.join(found.configs)} (__fish_complete_suffix .py)'" if flag == "--config" else ""
      lines.append(f"{start} -l {flag[2:]}{values}")
    if "--config" in flags:
      lines.append(f"{start} -a '{' '.join(found.keys)}'")
  return "\n".join(lines) + "\n"


# Where shells look for it; zsh where its $fpath has the folder.
PLACES = dict(
  bash="~/.local/share/bash-completion/completions/jssl", zsh="~/.zfunc/_jssl", fish="~/.config/fish/completions/jssl.fish"
)
SHELLS = dict(bash=bash, zsh=zsh, fish=fish)


def main(argv: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(
    prog="python -m jssl.completion",
    description=__doc__.splitlines()[0],
    epilog="; ".join(f"jssl completion {shell} > {place}" for shell, place in PLACES.items()),
  )
  parser.add_argument("shell", choices=SHELLS)
  print(SHELLS[parser.parse_args(argv).shell](words()), end="")
  return 0


if __name__ == "__main__":
  sys.exit(main())
