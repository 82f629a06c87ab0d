"""A node that starts with the machine: a systemd user unit (systemd.unit(5), systemd.service(5)).

Without systemd, or without a running user manager, the unit is still written and what could not be done is reported:
`systemctl --user enable --now` does the rest later.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from p2pqwen.errors import NotFoundError, P2pqwenError
from p2pqwen.library import durable
from p2pqwen.values.proxy import VARIABLES as PROXY_VARIABLES

STOP_SECONDS = 15
"""A node saves and stops within 10 seconds; after this time systemd kills it."""
# Never HF_TOKEN: `systemctl show` prints these. The node needs what leads to the network and whom to trust there.
_KEPT = (
    "HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "P2PQWEN_DHT_BOOTSTRAP", "SSL_CERT_FILE", "SSL_CERT_DIR",
    *PROXY_VARIABLES,
)  # fmt: skip
_SYSTEMCTL_SECONDS = 30.0
_NO_MANAGER = ("connect to bus", "user scope bus", "not been booted with systemd")
"""How systemctl, since 2015, says that no manager runs: in a container, under `su`, without PAM."""


@dataclass(frozen=True, slots=True)
class Service:
    """The unit of one home. `program` starts p2pqwen; `environment` is that of the user who asks."""

    home: Path
    default_home: Path | None
    config_folder: Path
    program: Sequence[str]
    environment: Mapping[str, str]

    @property
    def name(self) -> str:
        """The unit's name; every home but the default has its own unit."""
        if self.home == self.default_home:
            return "p2pqwen.service"
        return f"p2pqwen-{hashlib.sha256(str(self.home).encode()).hexdigest()[:8]}.service"

    @property
    def path(self) -> Path:
        """Where the user's manager looks for it."""
        return self.config_folder / "systemd" / "user" / self.name

    def cron_line(self, options: Sequence[str] = ()) -> str:
        """Return the crontab(5) line that starts the node with the machine; `%` means a newline there."""
        words = ["env", f"P2PQWEN_HOME={self.home}", *self.program, "seed", *options, "--daemon", "--quiet"]
        return f"@reboot {shlex.join(words)}".replace("%", "\\%")

    def unit(self, options: Sequence[str] = ()) -> str:
        """Return the unit's text, for `seed` with these options; raises `P2pqwenError` for what a unit cannot hold."""
        kept = {"P2PQWEN_HOME": str(self.home)}
        kept |= {name: self.environment[name] for name in _KEPT if self.environment.get(name)}
        command = " ".join(_argument(one) for one in (*self.program, "seed", *options))
        return "\n".join(
            [
                "[Unit]",
                f"Description=p2pqwen node, seeding from {_words(str(self.home))}",
                "StartLimitIntervalSec=0",
                "",
                "[Service]",
                "Type=exec",
                *(f"Environment={_quoted(f'{name}={value}')}" for name, value in kept.items()),
                f"ExecStart={command}",
                "# Wrong usage (2) does not mend itself; anything else may: a port that is taken, a disk that is full.",
                "Restart=on-failure",
                "RestartSec=30",
                "RestartPreventExitStatus=2",
                f"TimeoutStopSec={STOP_SECONDS}",
                "Nice=5",
                "LimitNOFILE=4096",
                "NoNewPrivileges=yes",
                "",
                "[Install]",
                "WantedBy=default.target",
                "",
            ]
        )


@dataclass(frozen=True, slots=True)
class UnitState:
    """The service's state. `active` and `enabled` are None if systemd does not say; `notes` say what to do."""

    service: Service
    installed: bool
    systemd: bool
    enabled: bool | None
    active: bool | None
    notes: tuple[str, ...] = ()

    @property
    def answer(self) -> ServiceAnswer:
        """What `service … --json` says."""
        return ServiceAnswer(
            self.service.name,
            self.service.path,
            self.installed,
            self.systemd,
            self.enabled,
            self.active,
            self.notes,
        )


@dataclass(frozen=True, slots=True)
class ServiceAnswer:
    """The unit of a home. `enabled` and `active` are None if systemd does not say."""

    unit: str
    path: Path
    installed: bool
    systemd: bool
    enabled: bool | None
    active: bool | None
    notes: tuple[str, ...]


def install(service: Service, options: Sequence[str], *, start: bool) -> UnitState:
    """Write the unit, enable it, and start it now if `start`; raises `DiskError`, `P2pqwenError`."""
    # It may hold a proxy's password, so only the user may read it.
    durable.write(service.path, service.unit(options).encode())
    failed = _systemctl("daemon-reload")
    if failed is None:
        failed = _systemctl("enable", *(["--now"] if start else []), service.name)
    notes = [] if failed is None else [f"{failed}; later: `systemctl --user enable --now {service.name}`"]
    if failed is not None:
        notes.append(f"without systemd: `{service.cron_line(options)}` in `crontab -e`, or `p2pqwen seed --daemon`")
    if failed is None and not _lingers():
        notes.append("it stops when you log out, unless you allow otherwise: `loginctl enable-linger`")
    return unit_state(service, notes)


def uninstall(service: Service) -> UnitState:
    """Stop the service and remove its unit; raises `NotFoundError` when there is none, `DiskError`."""
    if not service.path.exists():
        raise NotFoundError(f"no service of {service.home} is installed", got=f"no {service.path}")
    failed = _systemctl("disable", "--now", service.name)
    durable.remove(service.path)
    _systemctl("daemon-reload")
    left = "a node that runs keeps running: `p2pqwen status` shows it"
    return unit_state(service, [] if failed is None else [f"{failed}; {left}"])


def unit_state(service: Service, notes: Sequence[str] = ()) -> UnitState:
    """Return the service's state."""
    missing = _systemctl("list-units", "--no-legend", service.name)
    systemd = missing is None
    said = list(notes)
    if missing is not None and not said:
        said.append(f"{missing}; `p2pqwen status` shows whether a node runs, `p2pqwen seed --daemon` starts one")
    return UnitState(
        service,
        installed=service.path.exists(),
        systemd=systemd,
        enabled=_systemctl("is-enabled", "--quiet", service.name) is None if systemd else None,
        active=_systemctl("is-active", "--quiet", service.name) is None if systemd else None,
        notes=tuple(said),
    )


def _systemctl(*arguments: str) -> str | None:
    """Run `systemctl --user`; return why it failed, None if it did not."""
    program = shutil.which("systemctl")
    if program is None:
        return "systemd is not on this machine"
    try:
        done = subprocess.run(
            [program, "--user", *arguments],
            capture_output=True,
            text=True,
            timeout=_SYSTEMCTL_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"systemctl does not work on this machine: {error}"
    if done.returncode == 0:
        return None
    said = (done.stderr or done.stdout).strip().partition("\n")[0]
    if any(words in said for words in _NO_MANAGER):
        return f"no systemd manages this user's services here: {said[:1].lower()}{said[1:]}"
    return said or f"systemctl {arguments[0]} ended with {done.returncode}"


def _lingers() -> bool:
    """Tell whether the user's services run while they are logged out; True if unknown."""
    program = shutil.which("loginctl")
    if program is None:
        return True
    try:
        done = subprocess.run(
            [program, "show-user", "--property=Linger", "--value", "self"],
            capture_output=True,
            text=True,
            timeout=_SYSTEMCTL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return True
    return done.stdout.strip() != "no"


def _argument(text: str) -> str:
    """Quote an argument of ExecStart: `$` begins a variable there."""
    return _quoted(text.replace("$", "$$"))


def _quoted(text: str) -> str:
    return '"' + _words(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _words(text: str) -> str:
    """Escape systemd's specifiers (`%h`); raises `P2pqwenError` for control characters."""
    if not text.isprintable():
        raise P2pqwenError("a systemd unit cannot hold control characters", got=repr(text))
    return text.replace("%", "%%")
