"""Makes the models in this folder, each wrong in one way for the demo's golden file.

    pip install onnx==1.23.2 && python make.py

The demo's model takes float32 rows of 13 columns and answers 'probabilities' with 2 columns.
"""

from pathlib import Path

from onnx import TensorProto, checker, helper

FLOAT, DOUBLE, INT64 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64


def save(name, inputs, nodes, outputs, constants=()):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        name,
        [value(n, kind, shape) for n, kind, shape in inputs],
        [value(n, kind, shape) for n, kind, shape in outputs],
        [helper.make_tensor(n, kind, shape, data) for n, kind, shape, data in constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="serin")
    checker.check_model(model, full_check=True)
    Path(__file__).with_name(f"{name}.onnx").write_bytes(model.SerializeToString())


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs, [output], **attributes)


TWO_COLUMNS = [("probabilities", FLOAT, ["N", 2])]
FIRST_TWO = [("from", INT64, [1], [0]), ("to", INT64, [1], [2]), ("axis", INT64, [1], [1])]


def first_two(source, output):
    return node("Slice", [source, "from", "to", "axis"], output)


save(
    "width-2",
    [("row", FLOAT, ["N", 2])],
    [node("Sigmoid", ["row"], "probabilities")],
    TWO_COLUMNS,
)
save(
    "two-inputs",
    [("row", FLOAT, ["N", 13]), ("other", FLOAT, ["N", 13])],
    [node("Add", ["row", "other"], "sum"), first_two("sum", "probabilities")],
    TWO_COLUMNS,
    FIRST_TWO,
)
save(
    "float64",
    [("row", DOUBLE, ["N", 13])],
    [node("Cast", ["row"], "narrow", to=FLOAT), first_two("narrow", "probabilities")],
    TWO_COLUMNS,
    FIRST_TWO,
)
save(
    "integer-output",
    [("row", FLOAT, ["N", 13])],
    [first_two("row", "two"), node("Cast", ["two"], "probabilities", to=INT64)],
    [("probabilities", INT64, ["N", 2])],
    FIRST_TWO,
)
save(
    "other-output",
    [("row", FLOAT, ["N", 13])],
    [first_two("row", "two"), node("Sigmoid", ["two"], "label")],
    [("label", FLOAT, ["N", 2])],
    FIRST_TWO,
)
save(
    "one-column",
    [("row", FLOAT, ["N", 13])],
    [node("ReduceMean", ["row"], "mean", axes=[1], keepdims=1), node("Sigmoid", ["mean"], "probabilities")],
    [("probabilities", FLOAT, ["N", 1])],
)
# The logarithm of a negative number is NaN, whatever the row.
save(
    "not-a-number",
    [("row", FLOAT, ["N", 13])],
    [first_two("row", "two"), node("Abs", ["two"], "positive"), node("Sub", ["minus", "positive"], "negative"), node("Log", ["negative"], "probabilities")],
    TWO_COLUMNS,
    [*FIRST_TWO, ("minus", FLOAT, [1], [-1.0])],
)
