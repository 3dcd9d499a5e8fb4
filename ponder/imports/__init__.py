"""Logs of other tools as sample rows. One file a format, one line here.

A reader is a function (path, options) that yields `Found`: where a record stands, and its sample rows or what is wrong
with it. It holds one record at a time.
"""

from __future__ import annotations

from ponder.registry import Entry, Registry

FORMATS = Registry(
    "format",
    {
        "inspect": Entry("ponder.imports.inspect:records", "Inspect logs, .eval or .json; epochs become samples"),
        "lm-eval": Entry("ponder.imports.lm_eval:records", "lm-evaluation-harness samples_*.jsonl (--log_samples)"),
        "every-eval-ever": Entry("ponder.imports.every_eval_ever:records", "Every Eval Ever instance records, JSONL"),
        "csv": Entry("ponder.imports.plain:csv_records", "CSV with a header; name columns with --map"),
        "jsonl": Entry("ponder.imports.plain:jsonl_records", "JSONL of any objects; name fields with --map"),
    },
)
