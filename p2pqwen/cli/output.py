"""All printing: results to stdout, messages to stderr; for people, or one JSON object with `--json`."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self, TextIO

import typer

from p2pqwen import errors
from p2pqwen.cli import exit_codes
from p2pqwen.cli.table import columns
from p2pqwen.cli.wrapping import wrapped
from p2pqwen.events import Event, Happened, Notice, Progress
from p2pqwen.hidden import covered
from p2pqwen.values.byte_size import format_rate, format_size
from p2pqwen.values.printable_text import printable

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from p2pqwen.values.json_value import Answer

_STREAMS = {"stdin": "r", "stdout": "w", "stderr": "w"}  # by descriptor
_ROOM_FOR_BARS = 70  # columns
_LINE_EVERY = 5.0  # seconds between progress lines without a terminal


class Output:
    """The output of one command. Use as a context manager, so that bars are gone before anything else is printed.

    On a terminal, progress is drawn as bars; elsewhere as a line every few seconds, always on stderr. `quiet`: print
    only what needs attention, so that cron sends no mail: warnings, errors, and JSON if requested.
    """

    def __init__(self, *, as_json: bool, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self.as_json, self.quiet = as_json, quiet
        self._clock = clock
        self._terminal = can_redraw(sys.stderr)
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._last_line: dict[str, float] = {}
        self._started: dict[str, tuple[float, int]] = {}  # when, and how much was already done
        self._about = ""
        self._lock = threading.RLock()  # operations report from several threads
        self._over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._over = True
            self._close_bars()

    def report(self, event: Event) -> None:
        """Show an event of an operation; ignored once the command is over, even if its threads still run."""
        with self._lock:
            if not self._over:
                self._show(event)

    def _show(self, event: Event) -> None:
        match event:
            case Progress():
                if not self.quiet:
                    self._progress(event)
            case Notice(level="warning", text=text):
                self.warn(text)
            case Notice(text=text):
                self.note(text)
            case Happened():
                self.event(event)

    def note(self, text: str) -> None:
        """Print one line for a person, on stderr."""
        if not self.quiet:
            self._say(text)

    def warn(self, text: str) -> None:
        """Print one line that must not be missed, on stderr."""
        self._say(f"warning: {text}")

    def _say(self, text: str) -> None:
        line = printable(covered(text), limit=2000)
        if self._bars is not None:
            shown = "\n".join(wrapped(line, columns(sys.stderr)))
            self._bars.console.print(shown, markup=False, highlight=False, soft_wrap=True)
        else:
            _say(line)

    def event(self, event: Happened) -> None:
        """Print an event of a running node: a JSON line on stdout, or words."""
        if self.quiet and not self.as_json:
            return
        if self.as_json:
            from p2pqwen.cli.json_text import event_json

            line = event_json(event)
        else:
            facts = " ".join(f"{key}={value}" for key, value in event.facts.items() if value is not None)
            line = printable(covered(f"{event.event}: {facts}"), limit=2000)
        with _to_stdout():
            print(line)

    def result(self, answer: Answer, lines: Iterable[str]) -> None:
        """Print the command's result: `answer` as one JSON object, or `lines` for a person."""
        if not self.as_json:
            self.lines(lines)
            return
        from p2pqwen.cli.json_text import answer_json

        self._close_bars()
        with _to_stdout():
            print(answer_json(answer))

    def lines(self, lines: Iterable[str]) -> None:
        """Print lines for a person; a command with `--json` has its result instead."""
        self._close_bars()
        if self.quiet:
            return
        width = columns()
        with _to_stdout():
            for line in lines:
                print("\n".join(wrapped(printable(covered(line), limit=4000), width)))

    def unbroken(self, lines: Iterable[str]) -> None:
        """Print lines with commands to copy: unbroken, however narrow the terminal; with `--json`, on stderr."""
        self._close_bars()
        for line in lines:
            shown = printable(covered(line), limit=4000)
            if self.as_json:
                print(shown, file=sys.stderr, flush=True)
            else:
                with _to_stdout():
                    print(shown)

    def confirm(self, question: str, *, default: bool = False) -> bool:
        """Ask yes or no. Removes bars first and reports nothing meanwhile, which would hide the question.

        Raises `UsageError` if `quiet`, since what the question is about was not printed either.
        """
        if self.quiet:
            raise errors.UsageError("this needs an answer, and --quiet asks nothing", hint="--yes answers it")
        with self._lock:
            self._close_bars()
            return bool(typer.confirm(_question(question), default=default, err=True))

    def ask(self, question: str) -> str:
        """Ask for a line; as `confirm` does."""
        with self._lock:
            self._close_bars()
            return str(typer.prompt(_question(question), err=True)).strip()

    def ask_secret(self, question: str, *, twice: bool = False) -> str:
        """Ask for a text that is not shown while it is typed; as `confirm` does."""
        with self._lock:
            self._close_bars()
            try:
                return str(typer.prompt(_question(question), hide_input=True, confirmation_prompt=twice, err=True))
            except UnicodeDecodeError as error:
                said = f"the terminal sends something other than {error.encoding}"
                raise errors.UsageError(said, hint="set the terminal and LANG to the same encoding") from error

    def _progress(self, event: Progress) -> None:
        if event.about != self._about:  # its stages are others with the same names
            self._close_bars()
            self._last_line.clear()
            self._started.clear()
            self._about = event.about
        if self._terminal:
            self._draw(event)
            return
        now = self._clock()
        started, before = self._started.setdefault(event.stage, (now, event.done))
        finished = event.total is not None and event.done >= event.total
        if not finished and now - self._last_line.get(event.stage, started) < _LINE_EVERY:
            return
        if finished and event.stage in self._last_line and self._last_line[event.stage] < 0:
            return  # its last line was already printed
        self._last_line[event.stage] = -1.0 if finished else now
        self.note(_progress_line(event, event.done - before, now - started))

    def _draw(self, event: Progress) -> None:
        if self._bars is None:
            self._bars = _make_bars(columns(sys.stderr))
            self._bars.start()
        task = self._tasks.get(event.stage)
        if task is None:
            task = self._tasks[event.stage] = self._bars.add_task(event.stage, total=event.total, words="")
        speed = next(row.speed for row in self._bars.tasks if row.id == task) or 0.0
        words, width = _words(event, speed), columns(sys.stderr)
        if width is not None and max(len(event.stage), 9) + 1 + len(words) > width:
            words = _words(replace(event, detail=""), speed)  # a truncated figure would be a different one
        self._bars.update(task, completed=event.done, total=event.total, words=words)

    def _close_bars(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
            self._tasks.clear()


def can_redraw(stream: TextIO) -> bool:
    """Tell whether printed text can be overwritten: on a terminal, unless TERM says that it is dumb."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in {"dumb", "unknown"}


def prepare_streams() -> None:
    """Keep closed streams, and characters that the terminal's encoding lacks, from ending a command.

    A closed stream becomes /dev/null, with its descriptor. Otherwise the next file or socket to be opened would get
    that number, and output, or the input of a child process, would use it.
    """
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor < len(_STREAMS):
        os.set_inheritable(descriptor, True)  # as standard streams are
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
    for name, mode in _STREAMS.items():
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - open until the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def give_up_stdout() -> None:
    """Drop what stdout could not take, so that closing it at exit raises nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _to_stdout() -> Iterator[None]:
    """Print in this block; raises `DiskError` if the file behind stdout is full, `BrokenPipeError` without a reader."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        give_up_stdout()
        if isinstance(error, BrokenPipeError):
            raise
        raise unwritten(error) from error


def unwritten(error: OSError) -> errors.DiskError:
    """Return the error for output that stdout does not take."""
    hint = "everything else was done: free some space, or redirect the output"
    return errors.DiskError("cannot write to stdout", got=error.strerror, hint=hint)


def _say(line: str) -> None:
    """Print a line on stderr, broken between words on a terminal.

    A log that is full or gone must not end a command: its exit code still tells the result.
    """
    with contextlib.suppress(OSError):
        print("\n".join(wrapped(line, columns(sys.stderr))), file=sys.stderr, flush=True)


def print_error(error: errors.P2pqwenError, *, code: int, as_json: bool) -> None:
    """Print `error: what, expected, got` and its hint to stderr; with `--json` an object to stdout too."""
    _say(f"error: {printable(covered(error.message), limit=2000)}")
    if error.hint:
        _say(f"hint: {printable(covered(error.hint), limit=2000)}")
    if as_json:
        _print_failure(error, code)


def print_interrupted(*, as_json: bool) -> None:
    """Print on stderr that a command was interrupted; with `--json`, stdout still gets its object."""
    _say("interrupted")
    if as_json:
        _print_failure(errors.P2pqwenError("interrupted"), exit_codes.INTERRUPTED)


def fail(error: errors.P2pqwenError, *, code: int | None = None) -> NoReturn:
    """End a command whose printed result is a failure: print why on stderr, and exit with the code of `error`."""
    code = exit_codes.exit_code(error) if code is None else code
    print_error(error, code=code, as_json=False)
    raise typer.Exit(code)


def fail_for(failed: Sequence[errors.P2pqwenError], total: int) -> None:
    """End a command that did something for each of `total` things, after its result was printed.

    The exit code is 0 if nothing failed, the one that all failures share, or else 1.
    """
    codes = {exit_codes.exit_code(error) for error in failed}
    if failed:
        what = f"{len(failed)} of {total} failed: {failed[0].what}"
        error = errors.P2pqwenError(what, expected=failed[0].expected, got=failed[0].got, hint=failed[0].hint)
        fail(error, code=codes.pop() if len(codes) == 1 else exit_codes.FAILED)


def _print_failure(error: errors.P2pqwenError, code: int) -> None:
    from p2pqwen.cli.json_text import failure_json

    with contextlib.suppress(errors.DiskError, BrokenPipeError), _to_stdout():  # the exit code tells it as well
        print(failure_json(error, code))


def _question(text: str) -> str:
    """Return a question wrapped for the terminal behind stderr, with room for its choice of answers."""
    width = columns(sys.stderr)
    return "\n".join(wrapped(printable(text, limit=2000), None if width is None else width - len(" [y/N]: ")))


def _progress_line(event: Progress, gained: int, seconds: float) -> str:
    rate = gained / seconds if seconds > 0 else 0.0
    line = f"{event.stage}: {_words(event, rate)}"
    if rate > 0 and event.total is not None and event.done < event.total:
        line += f", {_duration((event.total - event.done) / rate)} left"
    return line


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else str(timedelta(seconds=round(seconds)))


def _words(event: Progress, rate: float) -> str:
    """Return amount, total, rate and the event's detail; `rate` in units a second."""
    in_bytes = event.unit == "bytes"
    amount = format_size(event.done) if in_bytes else str(event.done)
    if event.total is not None:
        amount += f" of {format_size(event.total)}" if in_bytes else f" of {event.total} {event.unit}"
    parts = [amount, format_rate(rate) if in_bytes and rate > 0 else "", printable(covered(event.detail), limit=60)]
    return ", ".join(part for part in parts if part)


def _make_bars(width: int | None) -> Bars:
    """Make bars for a terminal; a narrow one only has room for the words."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    name = TextColumn("{task.description:>9}", markup=False)
    words = TextColumn("{task.fields[words]}", markup=False)
    narrow = width is not None and width < _ROOM_FOR_BARS
    shown = (name, words) if narrow else (name, BarColumn(), TimeRemainingColumn(), words)
    return Bars(*shown, console=Console(stderr=True))
