"""The hosts that the settings name, which may therefore be on the user's own network (`values.named_hosts`)."""

from __future__ import annotations

from p2pqwen.config.settings import Config
from p2pqwen.values.named_hosts import NamedHosts


def configured_hosts(config: Config) -> NamedHosts:
    """Return the origins' hosts, those of web seeds, and those listed."""
    listed = NamedHosts.listed(listed_hosts(config.network.private_hosts))
    return NamedHosts.configured([config.hub.endpoint, config.modelscope.endpoint, *config.web_seed_bases]) | listed


def listed_hosts(text: str) -> tuple[str, ...]:
    """Return the parts of `[network] private_hosts`."""
    return tuple(one for part in text.split(",") if (one := part.strip()))
