r"""Completion for bash, zsh and fish: `p2pqwen completion SHELL`, and the answers to its scripts at each TAB.

A script sends the line up to the cursor in `_P2PQWEN_COMPLETE` and gets one candidate per line, with its help after a
tab. Typer finds the candidates. Its own scripts are not used: the one for zsh evaluates the answer as code, and the one
for bash breaks `ORG/MODEL@COMMIT` at the `@`.

Names come from indexes that others wrote, and a shell executes its command line. So an answer only holds characters of
`_SAFE`, none of which is special to a shell; other candidates are left out. An answer comes within `_DEADLINE` or not
at all, and nothing else is ever printed into the user's prompt.
"""

from __future__ import annotations

import contextlib
import enum
import io
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output
from p2pqwen.errors import UsageError
from p2pqwen.values.printable_text import printable

_DEADLINE = 5.0  # seconds; a user who pressed TAB waits for it
_MOST = 500
_SAFE = re.compile(r"[A-Za-z0-9@%+=:,./_-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class ScriptAnswer:
    """The answer of `completion SHELL --json`."""

    shell: str
    script: str


@dataclass(frozen=True, slots=True)
class InstalledAnswer:
    """The answer of `completion --install --json`: the script's file, and the startup file that loads it, if any."""

    shell: str
    path: Path
    loaded_from: Path | None


class Shell(enum.StrEnum):
    """A shell that p2pqwen completes for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


_SCRIPTS = {
    Shell.BASH: r"""# bash completion of p2pqwen; to load it in every shell: p2pqwen completion --install bash
_p2pqwen_completion() {
    local program="${1/#\~/$HOME}" line="${COMP_LINE:0:COMP_POINT}" candidate mark
    # Readline replaces only what follows the last of these marks.
    local word="${line##*[[:space:]]}"
    local rest="$word"
    for mark in @ : =; do
        [[ $COMP_WORDBREAKS == *"$mark"* ]] && rest="${rest##*"$mark"}"
    done
    COMPREPLY=()
    while IFS=$'\t' read -r candidate _; do
        COMPREPLY+=("${candidate#"${word%"$rest"}"}")
    done < <(_P2PQWEN_COMPLETE="$line" "$program" 2>/dev/null)
}
complete -o default -F _p2pqwen_completion p2pqwen
""",
    Shell.ZSH: r"""#compdef p2pqwen
# zsh completion of p2pqwen; to load it in every shell: p2pqwen completion --install zsh
_p2pqwen_completion() {
    local candidate explanation
    local -a candidates shown
    while IFS=$'\t' read -r candidate explanation; do
        candidates+=("$candidate")
        shown+=("$candidate${explanation:+  -- $explanation}")
    done < <(_P2PQWEN_COMPLETE="${(j: :)words[1,CURRENT]}" "${words[1]/#\~/$HOME}" 2>/dev/null)
    if (( $#candidates )); then
        compadd -l -d shown -a candidates
    else
        _files
    fi
}
if [[ ${zsh_eval_context[-1]} == loadautofunc ]]; then
    _p2pqwen_completion "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
    compdef _p2pqwen_completion p2pqwen
fi
""",
    Shell.FISH: r"""# fish completion of p2pqwen; to load it in every shell: p2pqwen completion --install fish
function __p2pqwen_completion
    set -l program (commandline -opc)[1]
    set -l found (_P2PQWEN_COMPLETE=(commandline -cp | string collect) command $program 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete --command p2pqwen --no-files --arguments '(__p2pqwen_completion)'
""",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(completion)


def completion(
    shell: Annotated[Shell | None, typer.Argument(metavar="bash|zsh|fish", help="The shell (default: yours).")] = None,
    install: Annotated[bool, typer.Option("--install", help="Write it where the shell finds it.")] = False,
    json_output: JsonFlag = False,
) -> None:
    """Print the script that lets a shell complete commands, options and names of models.

    To try it: `source <(p2pqwen completion bash)`, `source <(p2pqwen completion zsh)`, `p2pqwen completion fish |
    source`. With --install it is written below your home directory; bash and zsh get a line in .bashrc or .zshrc.
    """
    with Output(as_json=json_output) as out:
        chosen = shell or _shell_in_use()
        script = _SCRIPTS[chosen]
        if not install:
            out.result(ScriptAnswer(str(chosen), script), script.rstrip("\n").splitlines())
            return
        path, rc = _install(chosen, script)
        lines = [f"wrote {path}", *([f"loaded from {rc}"] if rc else []), "open a new shell to use it"]
        out.result(InstalledAnswer(str(chosen), path, rc), lines)


def answer(app: typer.Typer, line: str) -> int:
    """Print what may follow `line`; always returns 0, and prints nothing if anything fails."""
    found: list[str] = []
    with contextlib.suppress(BaseException), _deadline(), _silence():
        found = [*_candidates(app, line)]
    with contextlib.suppress(OSError):
        sys.stdout.write("".join(f"{one}\n" for one in found[:_MOST]))
        sys.stdout.flush()
    return 0


def _candidates(app: typer.Typer, line: str) -> Iterator[str]:
    """Yield the candidates that are safe on a command line; for `--option=beginning`, the whole word."""
    from p2pqwen.cli.candidates import candidates

    words, word = _split(line)
    option = word[: word.index("=") + 1] if word.startswith("--") and "=" in word else ""
    for value, explanation in candidates(app, words, word):
        if _SAFE.fullmatch(value):
            yield f"{option}{value}" + (f"\t{printable(' '.join(explanation.split()))}" if explanation else "")


def _split(line: str) -> tuple[list[str], str]:
    """Return the words after the program's name, and the one that is being typed; a quote may be open."""
    splitter = shlex.shlex(line, posix=True, punctuation_chars=False)
    splitter.whitespace_split, splitter.commenters = True, ""
    words: list[str] = []
    try:
        words.extend(splitter)
    except ValueError:  # an open quote: the text after it is the word
        words.append(splitter.token)
    typed = words.pop() if words and not line[-1:].isspace() else ""
    return words[1:], typed


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


@contextlib.contextmanager
def _deadline() -> Iterator[None]:
    """End the process after `_DEADLINE`, even during a library call that does not return."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
    signal.setitimer(signal.ITIMER_REAL, _DEADLINE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _shell_in_use() -> Shell:
    """Return the user's login shell from $SHELL, which scripts and containers may lack."""
    name = Path(os.environ.get("SHELL", "")).name
    try:
        return Shell(name)
    except ValueError:
        hint = "name it: `p2pqwen completion bash`, `… zsh` or `… fish`"
        raise UsageError("cannot tell which shell you use", got=f"SHELL={name!r}", hint=hint) from None


def _install(shell: Shell, script: str) -> tuple[Path, Path | None]:
    """Write the script, and the line that loads it; return both files, the second only if the shell needs one."""
    from p2pqwen.library import durable
    from p2pqwen.user_path import user_path

    home = user_path("~", "HOME")
    if shell is Shell.FISH:
        path, rc = home / ".config/fish/completions/p2pqwen.fish", None
    else:
        path, rc = home / f".local/share/p2pqwen-completion/p2pqwen.{shell}", home / f".{shell}rc"
    durable.write(path, script.encode(), mode=durable.SHARED)
    if rc is not None:
        with durable.disk_errors(f"write {rc}"):
            known = rc.read_bytes() if rc.exists() else b""
            quoted = str(path).replace("'", "'\\''")
            line = f"source '{quoted}'".encode()
            if line not in known.splitlines():
                with rc.open("ab") as file:  # a link to a dotfiles folder stays one
                    file.write((b"" if not known or known.endswith(b"\n") else b"\n") + line + b"\n")
    return path, rc
