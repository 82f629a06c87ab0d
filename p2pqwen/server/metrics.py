"""Prometheus text from plain numbers (prometheus-client is used only here)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from p2pqwen.server.page import Text


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name without the prefix, help, label names, and rows of label values and a number.

    `counter`: it only rises while the node runs (`_total` is added to its name).
    """

    name: str
    help: str
    labels: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], float], ...]
    counter: bool = False


def exposition(families: Iterable[Family]) -> Text:
    """Return the answer of `/metrics`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Given(tuple(families)))
    return Text(CONTENT_TYPE_LATEST, generate_latest(registry))


class _Given(Collector):
    def __init__(self, families: tuple[Family, ...]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for one in self._families:
            kind = CounterMetricFamily if one.counter else GaugeMetricFamily
            family = kind(f"p2pqwen_{one.name}", one.help, labels=one.labels)
            for labels, value in one.rows:
                family.add_metric(list(labels), value)
            yield family
