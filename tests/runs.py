"""Compare two runs."""

import json

from gluonlm.run.folder import Run


def records(run, *events):
    """Return the metrics of a run without times, of the given events or of all."""
    every = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [
        {k: v for k, v in r.items() if "second" not in k}
        for r in every
        if r["event"] in events or not events
    ]


def assert_same_end(run, whole):
    ours, theirs = Run(run).load("last"), Run(whole).load("last")
    for kind in ("parameters", "training"):
        assert getattr(ours, kind).keys() == getattr(theirs, kind).keys()
        for name, array in getattr(theirs, kind).items():
            assert (array == getattr(ours, kind)[name]).all(), name
    assert Run(run).load("best").progress["step"] == Run(whole).load("best").progress["step"]
    assert records(run) == records(whole)
