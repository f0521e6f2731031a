from __future__ import annotations

import csv
import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from modelyard_ops.errors import OpsError
from modelyard_ops.perf import Measurement, Plan, table
from modelyard_ops.perf.export import CSV_COLUMNS, to_csv, to_json, write_csv
from modelyard_ops.perf.measurement import failed, from_report
from modelyard_ops.perf.report import parse
from support.perf_output import stderr, stdout

PLAN = Plan(model="texter", concurrencies=(4, 8), stability_percent=1.0)
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "perf.md"


@pytest.fixture(name="rows")
def measured() -> list[Measurement]:
    """A row with numbers and a failed one."""
    return [
        from_report(PLAN, "1", 4, 1, parse(stdout("judged_3_percent"), "texter")),
        failed(PLAN, "1", 8, 1, (), stderr("request_failed")),
    ]


def text(rows: list[Measurement]) -> str:
    """The table on a terminal of 80 columns."""
    console = Console(file=StringIO(), width=80)
    console.print(table(rows))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_the_table_fits_80_columns_with_every_number(rows: list[Measurement]) -> None:
    """One line a concurrency, one a composing model with queue, compute and the batch that Triton formed."""
    lines = [line.split() for line in text(rows).splitlines()]
    assert ["4", "697", "5.73", "6.05", "6.21", "6.57", "2.47", "3.06", "-", "0", "unstable"] in lines
    assert ["2.41", "2.82", "2.00", "…encoder"] in lines
    assert ["0.06", "0.24", "1.01", "…tokenizer"] in lines
    assert ["8", *["-"] * 8, "1", "failed"] in lines


def test_the_table_says_why_a_row_is_marked(rows: list[Measurement]) -> None:
    """Below the numbers, by concurrency."""
    notes = " ".join(text(rows).split())
    assert "concurrency 4: unstable: throughput or average latency changed by 2% between windows" in notes
    assert "concurrency 8: failed: a request failed: in ensemble 'texter', refused" in notes


def test_an_empty_result_is_a_table_too() -> None:
    """An interruption before the first window leaves no row."""
    assert "concur" in text([])


def test_json_holds_every_number_with_its_unit(rows: list[Measurement]) -> None:
    """It is plain JSON: no NaN, null where a number is not known."""
    document = json.loads(json.dumps(to_json(PLAN, rows), allow_nan=False))
    first, second = document["measurements"]
    assert (first["throughput_inferences_per_s"], first["latency_p99_ms"]) == (697.21, 6.573)
    assert [model["model"] for model in first["composing_models"]] == ["texter_encoder", "texter_tokenizer"]
    assert first["composing_models"][0]["batch_size_mean"] == 2.0
    assert (second["status"], second["errors"], second["latency_p50_ms"]) == ("failed", 1, None)


def test_csv_has_one_line_a_measurement_and_one_a_composing_model(rows: list[Measurement]) -> None:
    """The lines of composing models name their ensemble."""
    lines = list(csv.DictReader(StringIO(to_csv(rows))))
    assert [(line["model"], line["ensemble"], line["concurrency"]) for line in lines] == [
        ("texter", "", "4"),
        ("texter_encoder", "texter", "4"),
        ("texter_tokenizer", "texter", "4"),
        ("texter", "", "8"),
    ]
    assert lines[0]["latency_p95_ms"] == "6.206"
    assert lines[1]["queue_ms"] == "2.41"
    assert (lines[3]["status"], lines[3]["latency_p95_ms"]) == ("failed", "")


def test_every_field_is_documented(rows: list[Measurement]) -> None:
    """docs/perf.md names each CSV column and each key of the JSON document."""
    documented = DOCUMENTATION.read_text(encoding="utf-8")
    document = to_json(PLAN, rows)
    measurement = document["measurements"][0]
    names = {*CSV_COLUMNS, *document, *measurement, *measurement["server"], *measurement["windows"][0]}
    assert [name for name in sorted(names) if f"`{name}`" not in documented] == []


def test_a_csv_file_that_cannot_be_written_is_one_sentence(tmp_path: Path, rows: list[Measurement]) -> None:
    """The path is named."""
    with pytest.raises(OpsError, match=r"the CSV file .* cannot be written: Is a directory"):
        write_csv(tmp_path, rows)
