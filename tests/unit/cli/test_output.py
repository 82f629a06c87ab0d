"""stdout holds the result alone; names from outside cannot drive the terminal."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest

from p2pqwen import errors
from p2pqwen.cli.exit_codes import exit_code
from p2pqwen.cli.output import Output, print_error
from p2pqwen.events import Happened, Notice, Progress, about


@dataclass(frozen=True)
class Named:
    ok: bool
    name: str


def test_json_stands_alone_on_stdout(capsys):
    with Output(as_json=True) as out:
        out.report(Notice("warning", "careful"))
        out.report(Progress("hash", 5, 5))
        out.result(Named(ok=True, name="ü"), ["never shown"])
    stdout, stderr = capsys.readouterr()
    assert json.loads(stdout) == {"ok": True, "name": "ü"}
    assert stderr.splitlines()[0] == "warning: careful"
    assert stderr.splitlines()[1].startswith("hash: 5 B of 5 B")


@pytest.mark.parametrize("hostile", ["\x1b[2Jgone", "a\u202egpj.exe", "a\rb", "a\x07", "\u2066x", "\x9b31m"])
def test_hostile_text_reaches_no_terminal(capsys, hostile):
    with Output(as_json=False) as out:
        out.report(Notice("info", hostile))
        out.report(Progress("fetch", 1, 1, detail=hostile))
        out.report(Happened("seen", {"name": hostile}))
        out.lines([hostile])
    print_error(errors.NotFoundError(hostile, got=hostile, hint=hostile), code=4, as_json=False)
    stdout, stderr = capsys.readouterr()
    assert not set("\x1b\u202e\r\x07\u2066\x9b") & set(stdout + stderr)
    assert len(stdout.splitlines()) == 2


def test_progress_speaks_every_few_seconds_and_once_at_the_end(capsys):
    now = iter([0.0, 1.0, 6.0, 7.0, 8.0, 9.0])
    with Output(as_json=False, clock=lambda: next(now)) as out:
        for done in (0, 10, 60, 70, 100, 100):
            out.report(Progress("download", done, 100))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["download: 60 B of 100 B", "download: 100 B of 100 B"]
    assert "s left" in lines[0]


def test_of_several_things_each_has_its_name_and_its_own_stages(capsys):
    with Output(as_json=False, clock=lambda: 0.0) as out:
        for number, name in enumerate(("Qwen/A", "Qwen/B", "Qwen/B"), 1):
            report = about(name, number, 3, out.report)
            report(Progress("download", 0, 100))
            report(Progress("download", 100, 100))
            report(Progress("download", 100, 100))
    assert capsys.readouterr().err.splitlines() == [
        "Qwen/A (1 of 3):",
        "download: 100 B of 100 B",
        "Qwen/B (2 of 3):",
        "download: 100 B of 100 B",
        "Qwen/B (3 of 3):",
        "download: 100 B of 100 B",
    ]


def test_the_only_one_of_its_kind_needs_no_name(capsys):
    with Output(as_json=False, clock=lambda: 0.0) as out:
        about("Qwen/A", 1, 1, out.report)(Progress("download", 100, 100))
    assert capsys.readouterr().err.splitlines() == ["download: 100 B of 100 B"]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_bar_fits_its_terminal(width, monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Output(as_json=False) as out:
        out.report(Progress("download", 0, 700_000_000))
        out.report(Progress("download", 123_000_000, 700_000_000, "1 peer"))
    drawn = re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "\n", capsys.readouterr().err).replace("\r", "\n")
    assert "123 MB of 700 MB" in drawn
    assert max(map(len, drawn.splitlines())) <= width


def test_a_figure_stays_with_its_unit(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with Output(as_json=False) as out:
        out.lines(["  content     700 kB in 0.2 s (4.35 MB/s)"])
    assert capsys.readouterr().out.splitlines() == ["  content     700 kB in 0.2 s", "    (4.35 MB/s)"]


def test_a_command_is_not_broken_between_its_words(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    long = f"  p2pqwen trust add {'ab' * 32} --index site"
    with Output(as_json=False) as out:
        out.lines(["not yet    bob; next: `p2pqwen index sign x.json`"])
        out.unbroken([long])
    assert capsys.readouterr().out.splitlines() == ["not yet    bob; next:", "  `p2pqwen index sign x.json`", long]


@pytest.mark.parametrize(("terminal", "drawn"), [("xterm-256color", True), ("", True), ("dumb", False)])
def test_a_dumb_terminal_gets_lines(terminal, drawn, monkeypatch, capsys):
    monkeypatch.setenv("TERM", terminal)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Output(as_json=False) as out:
        out.report(Progress("download", 5, 5))
        assert (out._bars is not None) is drawn
    assert drawn or capsys.readouterr().err == "download: 5 B of 5 B\n"


def test_what_was_there_before_does_not_count_as_speed(capsys):
    now = iter([0.0, 10.0])
    with Output(as_json=False, clock=lambda: next(now)) as out:
        for done in (1_000_000, 1_000_100):
            out.report(Progress("download", done, 2_000_000))
    (line,) = capsys.readouterr().err.splitlines()
    assert ", 10 B/s, " in line
    assert line.endswith(", 1 day, 3:46:30 left")


@pytest.mark.parametrize("ask", [lambda out: out.confirm("Sign?"), lambda out: out.ask_secret("Passphrase")])
def test_bars_are_gone_before_a_question_is_asked(ask, monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    drawn = []
    with Output(as_json=False) as out:
        for name in ("confirm", "prompt"):
            monkeypatch.setattr(f"typer.{name}", lambda *_, **__: drawn.append(out._bars is not None) or "y")
        out.report(Progress("check", 1, 2))
        assert out._bars is not None
        ask(out)
    assert drawn == [False]


def test_threads_that_outlive_the_command_are_not_heard(capsys):
    with Output(as_json=False) as out:
        out.report(Notice("info", "heard"))
    out.report(Notice("info", "too late"))
    out.report(Progress("download", 5, 5))
    assert capsys.readouterr().err == "heard\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.P2pqwenError("x"), 1),
        (errors.UsageError("x"), 2),
        (errors.VerificationError("x"), 3),
        (errors.FormatError("x"), 3),
        (errors.NotFoundError("x"), 4),
        (errors.NetworkError("x"), 5),
        (errors.DiskError("x"), 6),
    ],
)
def test_exit_codes(capsys, error, code):
    assert exit_code(error) == code
    print_error(error, code=code, as_json=True)
    stdout, stderr = capsys.readouterr()
    assert json.loads(stdout)["exit_code"] == code
    assert stderr == "error: x\n"


def test_errors_say_what_expected_got_and_hint(capsys):
    print_error(errors.VerificationError("a hash", expected="aa", got="bb", hint="try again"), code=3, as_json=False)
    assert capsys.readouterr().err == "error: a hash, expected aa, got bb\nhint: try again\n"
