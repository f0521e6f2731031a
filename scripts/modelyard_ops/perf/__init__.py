"""How fast a served model answers: the real perf_analyzer with real inputs, at several concurrencies.

    plan = Plan(model="text_embedder", url="127.0.0.1:8001", concurrencies=(1, 8))
    samples = golden_samples(repository, plan.model)
    rows = measure(plan, samples, install_perf_analyzer())
    console.print(table(rows))

`plan`, `samples`, `report`, `measurement`, `table` and `export` decide without I/O (but for reading the samples' file);
`analyzer` runs the process, `server` asks Triton, `measure` puts them together.
"""

from modelyard_ops.perf.measure import MeasuringInterrupted, Progress, measure
from modelyard_ops.perf.measurement import Measurement
from modelyard_ops.perf.plan import DEFAULT_URL, Plan
from modelyard_ops.perf.report import Latency, ModelTimes, Window
from modelyard_ops.perf.samples import Sample, golden_samples, load_samples
from modelyard_ops.perf.server import ServedModel, served_model
from modelyard_ops.perf.table import table

__all__ = [
    "DEFAULT_URL",
    "Latency",
    "Measurement",
    "MeasuringInterrupted",
    "ModelTimes",
    "Plan",
    "Progress",
    "Sample",
    "ServedModel",
    "Window",
    "golden_samples",
    "load_samples",
    "measure",
    "served_model",
    "table",
]
