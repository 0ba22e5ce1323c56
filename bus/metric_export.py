"""The instruments behind ``bus.metrics``, and how their figures leave. Loaded only where somebody wants them."""

from collections.abc import Iterable
from typing import Any

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Observation
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)
from prometheus_client import CollectorRegistry, generate_latest

from bus.exporters import EXPORT_WALL_S, Outages, collector, otlp_exporter
from bus.metrics import METRICS, Attributes, Metric, Source
from bus.tracing import resource

COUNTED_HERE = ("modbus.errors", "modbus.writes")
LABELS = ("service.name", "service.instance.id")
"""Of the resource; they stand at each series, so that dashboards need no join."""


class Meters:
    """One process's instruments. ``scraped``: also as text for Prometheus."""

    def __init__(self, role: str, instance: str, scraped: bool) -> None:
        self._registry = CollectorRegistry()
        readers: list[MetricReader] = []
        if scraped:
            readers.append(
                PrometheusMetricReader(
                    scope_info_enabled=False,
                    resource_attribute_filter=lambda key: key in LABELS,
                    registry=self._registry,
                )
            )
        self._figures = _exporter()
        if self._figures is not None:
            readers.append(PeriodicExportingMetricReader(self._figures, export_timeout_millis=EXPORT_WALL_S * 1000))
        self._provider = MeterProvider(
            metric_readers=readers,
            resource=resource(role, instance),
            shutdown_on_exit=False,
            exemplar_filter=AlwaysOffExemplarFilter(),
        )
        meter = self._provider.get_meter("gridparley")
        self._sources: dict[str, list[Source]] = {metric.name: [] for metric in METRICS}
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        for metric in METRICS:
            described = (metric.name, metric.unit, metric.meaning)
            if metric.kind == "histogram":
                self._histograms[metric.name] = meter.create_histogram(
                    *described, explicit_bucket_boundaries_advisory=metric.buckets
                )
            elif metric.name.removeprefix("gridparley.") in COUNTED_HERE:
                self._counters[metric.name] = meter.create_counter(*described)
            else:
                make = meter.create_observable_counter if metric.kind == "counter" else meter.create_observable_gauge
                make(metric.name, [self._asked(metric)], metric.unit, metric.meaning)

    def _asked(self, metric: Metric) -> Any:
        def answer(_options: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, {**of}) for source in self._sources[metric.name] for value, of in source()]

        return answer

    def count(self, metric: Metric, attributes: Attributes) -> None:
        self._counters[metric.name].add(1, {**attributes})

    def record(self, metric: Metric, value: float, attributes: Attributes) -> None:
        self._histograms[metric.name].record(value, {**attributes})

    def observe(self, metric: Metric, source: Source) -> None:
        self._sources[metric.name].append(source)

    def scrape(self) -> bytes:
        return generate_latest(self._registry)

    def close(self) -> None:
        if self._figures is not None:
            self._figures.outages.closing = True
        self._provider.shutdown(timeout_millis=EXPORT_WALL_S * 1000)


def _exporter() -> "PatientFigures | None":
    where = collector("metrics")
    if where is None:
        return None
    return PatientFigures(otlp_exporter("metrics"), Outages(where, "metrics"))


class PatientFigures(MetricExporter):
    """An exporter whose collector may be away for as long as it likes; the next figures hold what it missed."""

    def __init__(self, inner: MetricExporter, outages: Outages) -> None:
        super().__init__(inner._preferred_temporality, inner._preferred_aggregation)
        self._inner, self.outages = inner, outages

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = EXPORT_WALL_S * 1000, **kwargs: Any
    ) -> MetricExportResult:
        if self.outages.hopeless:
            return MetricExportResult.FAILURE
        result = self._inner.export(metrics_data, timeout_millis, **kwargs)
        self.outages.note(result is MetricExportResult.SUCCESS, 1)
        return result

    def force_flush(self, timeout_millis: float = EXPORT_WALL_S * 1000) -> bool:
        return self._inner.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = EXPORT_WALL_S * 1000, **kwargs: Any) -> None:
        self._inner.shutdown(timeout_millis, **kwargs)
