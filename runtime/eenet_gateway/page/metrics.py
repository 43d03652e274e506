"""The report as Prometheus reads it. Labels are states, destinations and kinds of events: none comes from a peer."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from eenet_gateway.store.report import Report


class _Once(Collector):
    """One report as metrics."""

    def __init__(self, found: Report, well: bool) -> None:
        self._found, self._well = found, well

    def collect(self) -> Iterator[Metric]:
        """Each metric, with its help."""
        found = self._found
        yield _gauge("up", "1 where the gateway is well.", float(self._well))
        studies = GaugeMetricFamily("eenet_gateway_studies", "Studies by state.", labels=["state"])
        for state, count in found.studies.items():
            studies.add_metric([state], count)
        yield studies
        yield _gauge("oldest_waiting_seconds", "Age of the oldest study that is not over.", found.oldest_s)
        yield _gauge("disk_free_bytes", "Free space where the data lie.", float(found.free_bytes))
        events = CounterMetricFamily("eenet_gateway_events", "What happened, by kind.", labels=["kind"])
        for kind, count in found.counters.items():
            events.add_metric([kind], count)
        yield events
        for name, words in (
            ("destination_up", "1 where a destination answered the last C-ECHO."),
            ("destination_echo_seconds", "How long its answer took."),
            ("deliveries_pending", "Results that wait for a destination."),
            ("deliveries_refused", "Results that a destination refused for good."),
        ):
            family = GaugeMetricFamily(f"eenet_gateway_{name}", words, labels=["destination"])
            for one in found.destinations:
                value = {
                    "destination_up": float(one.answered_s is not None),
                    "destination_echo_seconds": one.answered_s,
                    "deliveries_pending": float(one.pending),
                    "deliveries_refused": float(one.refused),
                }[name]
                if value is not None:
                    family.add_metric([one.name], value)
            yield family


def metrics_text(found: Report, well: bool) -> bytes:
    """The report in Prometheus' text format, and figures of this process."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(found, well))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def _gauge(name: str, words: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"eenet_gateway_{name}", words, value=value)
