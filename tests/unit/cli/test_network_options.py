"""The flags for the network: each is declared once, and says no to what config.toml lets."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from p2pqwen.app import App
from p2pqwen.cli import main, network_options
from p2pqwen.cli.network_options import SWITCH_HELP, SwitchedOff, network_choices, network_switches
from p2pqwen.config.load import load
from p2pqwen.config.settings import Config, NetworkConfig
from p2pqwen.errors import UsageError
from p2pqwen.library.home import Home
from p2pqwen.values.network_choices import SWITCHES, UNRESTRICTED

COMMAND = typer.main.get_command(main.app)


def configured(folder: Path, **network) -> App:
    return App(Config(Home(folder), network=NetworkConfig(**network)))


def test_every_switch_says_what_it_does():
    assert tuple(SWITCH_HELP) == SWITCHES
    assert all(text.startswith("Do not ") and text.endswith(".") for text in SWITCH_HELP.values())


@pytest.mark.parametrize(
    ("command", "switches"),
    [(name, SWITCHES) for name in ("fetch", "seed", "adopt", "rebalance")] + [("health", ("dht", "trackers"))],
)
def test_a_command_has_a_flag_for_each_switch(command, switches):
    flags = {option: one for one in COMMAND.commands[command].params for option in one.opts}
    assert [flag for flag in flags if flag[5:] in SWITCHES] == [f"--no-{name}" for name in switches]
    for name in switches:
        assert flags[f"--no-{name}"].help == SWITCH_HELP[name]
        assert flags[f"--no-{name}"].default is False
    assert "--off" not in flags


@pytest.mark.parametrize("off", [(), ("dht",), ("lsd", "trackers"), SWITCHES])
def test_a_flag_reaches_the_command_as_a_switch(off):
    seen: list[SwitchedOff] = []
    app = typer.Typer()

    @app.command()
    @network_switches()
    def look(target: str, off: SwitchedOff = (), seconds: int = 1) -> None:
        seen.append(off)
        assert (target, seconds) == ("here", 5)

    done = CliRunner().invoke(app, ["here", *(f"--no-{name}" for name in reversed(off)), "--seconds", "5"])
    assert (done.exit_code, seen) == (0, [off])


def test_a_new_switch_is_a_field_and_a_word_of_help(monkeypatch):
    """A flag is made of a switch's name and help; no command is touched for it."""
    monkeypatch.setattr(network_options, "SWITCHES", (*SWITCHES, "pex"))
    monkeypatch.setattr(network_options, "SWITCH_HELP", {**SWITCH_HELP, "pex": "Do not hear of peers from peers."})
    seen: list[tuple[str, ...]] = []
    app = typer.Typer()

    @app.command()
    @network_switches()
    def look(off: SwitchedOff = ()) -> None:
        seen.append(off)

    assert CliRunner().invoke(app, ["--no-pex", "--no-lsd"]).exit_code == 0
    assert seen == [("lsd", "pex")]


def test_config_toml_and_flags_only_take_away(tmp_path):
    app = configured(tmp_path, choices=UNRESTRICTED.without("lsd").limited(upload=5, download=7))
    assert network_choices(app, ()) == app.config.network.choices
    chosen = network_choices(app, ("dht",), upload_limit="0", download_limit="2MB/s")
    assert chosen == UNRESTRICTED.without("lsd", "dht").limited(upload=0, download=2_000_000)
    with pytest.raises(UsageError):
        network_choices(app, (), upload_limit="quick")


def test_each_choice_is_a_setting_of_config_toml(tmp_path):
    settings = {**dict.fromkeys(SWITCHES, "false"), "upload_limit": '"1MB/s"', "download_limit": "3"}
    (tmp_path / "config.toml").write_text("[network]\n" + "".join(f"{name} = {it}\n" for name, it in settings.items()))
    read = load({"P2PQWEN_HOME": str(tmp_path)}).network
    assert asdict(read.choices) == {**dict.fromkeys(SWITCHES, False), "upload_limit": 1_000_000, "download_limit": 3}
    assert read == NetworkConfig(choices=read.choices)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("choices = true", "has no setting 'choices'"),
        ("no_dht = true", "has no setting 'no_dht'"),
        ("dht = 1", r"\[network\] dht"),
        ('upnp = "no"', r"\[network\] upnp"),
    ],
)
def test_what_is_no_setting_is_refused(tmp_path, line, expected):
    (tmp_path / "config.toml").write_text(f"[network]\n{line}\n")
    with pytest.raises(UsageError, match=expected):
        load({"P2PQWEN_HOME": str(tmp_path)})
