"""`service`: the unit as text, as systemd reads it, and what is said where systemd is not there."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys

import pytest

from p2pqwen.errors import P2pqwenError
from p2pqwen.operations.node.service import Service
from tests.support.command import CommandLine

FAKE = """#!/bin/sh
echo "$(basename $0) $@" >> {log}
[ "$1 $2" = "--user is-enabled" ] && exit {enabled}
[ "$1 $2" = "--user is-active" ] && exit {enabled}
[ "$(basename $0)" = loginctl ] && echo {linger}
exit 0
"""


@pytest.fixture
def user(tmp_path):
    return CommandLine(
        tmp_path / "user", XDG_CONFIG_HOME=str(tmp_path / "config"), HF_TOKEN="hf_secret", PATH="/nowhere"
    )


def fake_systemd(folder, *, enabled=0, linger="yes"):
    """Programs that write down how they were called; returns their folder and the log."""
    folder.mkdir()
    log = folder / "log"
    for name in ("systemctl", "loginctl"):
        (folder / name).write_text(FAKE.format(log=log, enabled=enabled, linger=linger))
        (folder / name).chmod(0o755)
    return f"{folder}:/usr/bin:/bin", log


def test_install_status_uninstall(user, tmp_path):
    path, log = fake_systemd(tmp_path / "bin")
    done = user.run("service", "install", "--json", "--", "--listen", "0.0.0.0:7000", PATH=path).json
    assert (done["installed"], done["enabled"], done["active"], done["notes"]) == (True, True, True, [])
    text = (tmp_path / "config" / "systemd" / "user" / done["unit"]).read_text()
    assert f'ExecStart="{sys.executable}" "-m" "p2pqwen" "seed" "--listen" "0.0.0.0:7000"' in text
    assert f'Environment="P2PQWEN_HOME={user.home}"' in text
    assert "hf_secret" not in text
    assert user.ok("service", "status", PATH=path)["installed"]
    assert user.ok("service", "install", PATH=path)["path"] == done["path"]  # again: the same unit
    assert not user.ok("service", "uninstall", PATH=path)["installed"]
    assert user.run("service", "uninstall", PATH=path).code == 4
    unit = done["unit"]
    assert [line for line in log.read_text().splitlines() if "able" in line and "is-" not in line] == [
        f"systemctl --user enable --now {unit}",
        f"systemctl --user enable --now {unit}",
        f"systemctl --user disable --now {unit}",
    ]


def test_a_user_who_does_not_linger_is_told(user, tmp_path):
    path, _ = fake_systemd(tmp_path / "bin", enabled=1, linger="no")
    done = user.ok("service", "install", "--no-start", PATH=path)
    assert (done["enabled"], done["active"]) == (False, False)
    assert "enable-linger" in done["notes"][0]


def test_without_systemd_the_unit_is_written_and_that_is_said(user):
    done = user.ok("service", "install")
    assert (done["installed"], done["systemd"], done["enabled"]) == (True, False, None)
    assert "systemd is not on this machine" in done["notes"][0]
    assert "systemctl --user enable --now" in done["notes"][0]
    assert "not on this machine" in user.run("service", "status").stdout
    assert user.run("service", "uninstall").code == 0


NO_MANAGER = [
    "Failed to connect to bus: No medium found",
    "Failed to connect to user scope bus via local transport: $DBUS_SESSION_BUS_ADDRESS is not defined",
    "System has not been booted with systemd as init system (PID 1). Can't operate.",
]


@pytest.mark.parametrize("said", NO_MANAGER)
def test_without_a_manager_for_the_user_it_is_said_what_that_means(user, tmp_path, said):
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "systemctl").write_text(f"#!/bin/sh\necho {shlex.quote(said)} >&2\nexit 1\n")
    (bin_folder / "systemctl").chmod(0o755)
    path = f"{bin_folder}:/usr/bin:/bin"
    done = user.ok("service", "install", PATH=path)
    assert (done["installed"], done["systemd"], done["active"]) == (True, False, None)
    assert done["notes"][0].startswith("no systemd manages this user's services here: ")
    assert "@reboot" in done["notes"][1]
    (note,) = user.ok("service", "status", PATH=path)["notes"]
    assert "`p2pqwen seed --daemon` starts one" in note
    (note,) = user.ok("service", "uninstall", PATH=path)["notes"]
    assert "keeps running" in note


def test_a_budget_and_a_rate_are_enough(user, tmp_path):
    path, _ = fake_systemd(tmp_path / "bin")
    done = user.ok("service", "install", "--budget", "20GB", "--upload", "1MB/s", PATH=path)
    text = (tmp_path / "config" / "systemd" / "user" / done["unit"]).read_text()
    assert '"p2pqwen" "seed" "--budget" "20GB" "--upload-limit" "1MB/s"\n' in text
    for wrong in (("--budget", "much"), ("--upload", "fast")):
        assert user.run("service", "install", *wrong, PATH=path).code == 2


def test_without_systemd_a_line_of_cron_does_the_same(tmp_path):
    home = tmp_path / "a home with 100%"
    user = CommandLine(home, XDG_CONFIG_HOME=str(tmp_path / "config"), PATH="/nowhere")
    note = user.ok("service", "install", "--budget", "20GB")["notes"][-1]
    line = note.partition("`")[2].partition("`")[0]
    assert line.startswith("@reboot ")
    command = line.removeprefix("@reboot ")
    assert command.count("%") == command.count("\\%") > 0  # a bare % ends the command: crontab(5)
    words = shlex.split(command.replace("\\%", "%"))
    assert words[:3] == ["env", f"P2PQWEN_HOME={user.home}", sys.executable]
    assert words[-5:] == ["seed", "--budget", "20GB", "--daemon", "--quiet"]


@pytest.mark.parametrize("options", [["--listn", "x"], ["--listen"], ["extra"]])
def test_options_that_seed_would_refuse_do_not_reach_the_unit(user, tmp_path, options):
    assert user.run("service", "install", "--", *options).code == 2
    assert not (tmp_path / "config").exists()


def test_each_home_has_a_unit_of_its_own(tmp_path):
    def unit(home):
        return Service(home, tmp_path / "default", tmp_path, ["p2pqwen"], {}).name

    assert unit(tmp_path / "default") == "p2pqwen.service"
    names = {unit(tmp_path / "one"), unit(tmp_path / "two"), "p2pqwen.service"}
    assert len(names) == 3


@pytest.mark.parametrize(
    ("home", "written"),
    [
        ("plain", "plain"),
        ("with space", "with space"),
        ('qu"ote', 'qu\\"ote'),
        ("back\\slash", "back\\\\slash"),
        ("100%h", "100%%h"),
        ("$HOME", "$HOME"),  # no variables in Environment=
    ],
)
def test_what_systemd_would_expand_stands_for_itself(tmp_path, home, written):
    service = Service(tmp_path / home, tmp_path, tmp_path, ["/usr/bin/p2p$qwen"], {"HF_HOME": "/a b"})
    text = service.unit(["--http", "%h:1"])
    assert f'Environment="P2PQWEN_HOME={tmp_path}/{written}"\n' in text
    assert 'Environment="HF_HOME=/a b"\n' in text
    assert 'ExecStart="/usr/bin/p2p$$qwen" "seed" "--http" "%%h:1"\n' in text
    verify(service.path, Service(tmp_path / home, tmp_path, tmp_path, [sys.executable], {}).unit())


def test_a_newline_in_a_path_is_refused(tmp_path):
    with pytest.raises(P2pqwenError, match="control characters"):
        Service(tmp_path / "a\nExecStartPre=evil", tmp_path, tmp_path, ["p2pqwen"], {}).unit()


def verify(path, text):
    """Have systemd read the unit, where it is installed."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    runtime = path.parent / "runtime"
    runtime.mkdir()
    done = subprocess.run(
        [analyze, "--user", "--man=no", "verify", path],
        env={"XDG_RUNTIME_DIR": str(runtime), "HOME": str(path.parent), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if path.name in line]
    assert complaints == [], done.stderr
