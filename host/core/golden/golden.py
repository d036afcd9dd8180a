#!/usr/bin/env python3
"""Writes golden.json: what well-known packages answer to the questions that serin-core's statistics answer.

The tests in src/stats/tests/golden_packages.rs, src/stats/tests/golden_counts.rs and src/analysis/golden_tests.rs
compare. To renew, in the repository's root:

    python3 -m venv target/golden && target/golden/bin/pip install -r host/core/golden/requirements.txt && \
        target/golden/bin/python host/core/golden/golden.py

arms.py asks gbstats, tea-tasting, statsmodels and scipy; counts.py statsmodels, scipy and mpmath. Where a package
defines a number in another way than serin, it is asked a question whose answer is the same by both definitions. Where
two packages answer the same question, they have to agree. mpmath computes with 50 digits, so that sums of large
logarithms have no error of their own.
"""

import json
import warnings
from pathlib import Path

import arms
import counts


def main():
    # Of arms without variance, which are meant.
    warnings.simplefilter("ignore", RuntimeWarning)
    groups = {
        "lifts": arms.lifts(),
        "ratios": arms.ratios(),
        "covariates": arms.covariates(),
        "sequences": arms.sequences(),
        "regressions": arms.regressions(),
        "adjusted": arms.adjusted(),
        "exact_bounds": counts.exact_bounds(),
        "one_looks": counts.one_looks(),
        "e_values": counts.e_values(),
        "bounds": counts.bounds(),
        "conditional": counts.conditional(),
        "chi_squared": counts.chi_squareds(),
        "bayes_factors": counts.bayes_factors(),
        "balances": counts.balances(),
        "left_in": counts.left_in(),
    }
    line = lambda cases: ",\n  ".join(json.dumps(case, allow_nan=False) for case in cases)
    text = ",\n".join(f'"{name}": [\n  {line(cases)}\n]' for name, cases in groups.items())
    Path(__file__).with_name("golden.json").write_text("{\n" + text + "\n}\n")


if __name__ == "__main__":
    main()
