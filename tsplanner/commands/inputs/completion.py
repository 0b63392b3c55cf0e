"""Completion of verbs, flags and choices for bash, zsh and fish, written from the parsers.

source <(tsplanner --completion bash)
source <(tsplanner --completion zsh)
tsplanner --completion fish | source
"""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import NoReturn

from tsplanner.commands.inputs.verbs import VERBS, verb_parser
from tsplanner.errors import UsageError, did_you_mean, named

SHELLS = ("bash", "zsh", "fish")
BASH = """_tsplanner() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" words=""
  if [ "$COMP_CWORD" -eq 1 ]; then words={verbs}
  else case "${{COMP_WORDS[1]}} $before" in
{choices}
    *) case "${{COMP_WORDS[1]}}" in
{flags}
    esac ;;
  esac; fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _tsplanner tsplanner
"""
ZSH = "autoload -Uz compinit bashcompinit && compinit && bashcompinit\n"
"""zsh runs what is written for bash."""


def print_completion(shell: str) -> NoReturn:
    """Print the script of a shell and end. Raises UsageError: the shell is another one."""
    if shell not in SHELLS:
        raise UsageError(
            f"--completion knows {', '.join(SHELLS)}, not {named(shell)}."
            f"{did_you_mean(shell, SHELLS)}"
        )
    print(completion(shell), end="")
    sys.exit(0)


def completion(shell: str) -> str:
    """The script of one of SHELLS."""
    if shell == "fish":
        return "\n".join(_fish()) + "\n"
    choices, flags = [], []
    for verb in VERBS:
        known = _flags(verb)
        flags.append(f"    {verb}) words={shlex.quote(' '.join(known))} ;;")
        for flag, values in known.items():
            if values:
                choices.append(f"    '{verb} {flag}') words={shlex.quote(' '.join(values))} ;;")
    verbs = shlex.quote(" ".join([*VERBS, "help"]))
    text = BASH.format(verbs=verbs, choices="\n".join(choices), flags="\n".join(flags))
    return (ZSH if shell == "zsh" else "") + text


def _flags(verb: str) -> dict[str, list[str]]:
    """The long flags of a verb with the values that they choose from."""
    return {
        option: [str(choice) for choice in action.choices or ()]
        for action in verb_parser(verb)._actions
        for option in action.option_strings
        if option.startswith("--") and action.help != argparse.SUPPRESS
    }


def _fish() -> list[str]:
    """Lines for fish, which shows the summary beside a verb."""
    lines = [
        f"complete -c tsplanner -n __fish_use_subcommand -f -a {verb} -d {_fish_quoted(summary)}"
        for verb, summary in VERBS.items()
    ]
    for verb in VERBS:
        inside = f"complete -c tsplanner -n '__fish_seen_subcommand_from {verb}'"
        for flag, values in _flags(verb).items():
            tail = f" -x -a {_fish_quoted(' '.join(values))}" if values else ""
            lines.append(f"{inside} -l {flag.removeprefix('--')}{tail}")
    return lines


def _fish_quoted(text: str) -> str:
    """A text for fish, where a quote inside quotes has a backslash before it."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
