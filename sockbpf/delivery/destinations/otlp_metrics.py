# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The families of metrics that Prometheus is shown, as a request of OTLP for metrics.

As the compatibility of both has it: a counter is a cumulative monotonic sum of the same name without `_total`. So a
collector that shows it to Prometheus again gives it the name that it has there.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE

from sockbpf import __version__
from sockbpf.delivery.destinations.otlp_names import SCHEMA
from sockbpf.delivery.destinations.otlp_wire import SCOPE, describe, put

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

UNITS = {"_bytes": "By", "_seconds": "s", "_ratio": "1"}
"""The end of a name -> its unit by UCUM."""

FRACTIONS = ("_seconds", "_ratio")
"""The ends of names whose values are no whole numbers."""


def metrics_request(
    families: Iterable[Any], host: str, resource: Mapping[str, str], *, start_ns: int, now_ns: int
) -> bytes:
    """Return the request for these families, as the client library of Prometheus collects them.

    `start_ns` is when counting began, Unix time; `resource` as in `logs_request`.
    """
    made = ExportMetricsServiceRequest()
    of_host = made.resource_metrics.add(schema_url=SCHEMA)
    describe(of_host.resource, host, resource)
    scope = of_host.scope_metrics.add()
    scope.scope.name, scope.scope.version = SCOPE, __version__
    times = {"start_time_unix_nano": start_ns, "time_unix_nano": now_ns}
    for family in families:
        if family.samples:
            unit = next((unit for end, unit in UNITS.items() if family.name.endswith(end)), "")
            name = f"{family.name}_info" if family.type == "info" else family.name
            _add(scope.metrics.add(name=name, description=family.documentation, unit=unit), family, times)
    return made.SerializeToString()


def _add(metric: Any, family: Any, times: Mapping[str, int]) -> None:
    if family.type == "histogram":
        metric.histogram.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
        _add_histograms(metric.histogram.data_points, family, times)
        return
    if family.type == "gauge":
        points, times = metric.gauge.data_points, {"time_unix_nano": times["time_unix_nano"]}
    else:
        metric.sum.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
        metric.sum.is_monotonic = family.type == "counter"
        points = metric.sum.data_points
    for sample in family.samples:
        if sample.name.endswith("_created"):
            continue
        point = points.add(**times)
        put(point.attributes, sample.labels)
        if family.name.endswith(FRACTIONS):
            point.as_double = sample.value
        else:
            point.as_int = int(sample.value)


def _add_histograms(points: Any, family: Any, times: Mapping[str, int]) -> None:
    """Add a point for each set of labels; Prometheus has in each bucket those of the buckets before it too."""
    values: dict[tuple[tuple[str, str], ...], dict[str, float]] = defaultdict(dict)
    for sample in family.samples:
        labels = {name: text for name, text in sample.labels.items() if name != "le"}
        what = sample.labels.get("le", sample.name.removeprefix(family.name))
        values[tuple(labels.items())][what] = sample.value
    for pairs, found in values.items():
        point = points.add(count=int(found["_count"]), sum=found["_sum"], **times)
        put(point.attributes, dict(pairs))
        before = 0
        for what, value in found.items():
            if what.startswith("_"):
                continue
            if what != "+Inf":
                point.explicit_bounds.append(float(what))
            point.bucket_counts.append(int(value) - before)
            before = int(value)
