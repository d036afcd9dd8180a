"""Makes the models in this folder, most of them wrong in one way for the demo's golden file.

    pip install onnx==1.23.2 && python make.py

The demo's model takes float32 rows of 13 columns and answers 'probabilities' with 2 columns.
"""

from pathlib import Path

from onnx import TensorProto, checker, helper

FLOAT, DOUBLE, INT64 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64


def save(name, inputs, nodes, outputs, constants=(), tensors=(), check=True):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        name,
        [value(n, kind, shape) for n, kind, shape in inputs],
        [value(n, kind, shape) for n, kind, shape in outputs],
        [*(helper.make_tensor(n, kind, shape, data) for n, kind, shape, data in constants), *tensors],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="serin")
    if check:
        checker.check_model(model, full_check=True)
    Path(__file__).with_name(f"{name}.onnx").write_bytes(model.SerializeToString())


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs, [output], **attributes)


TWO_COLUMNS = [("probabilities", FLOAT, ["N", 2])]
FIRST_TWO = [("from", INT64, [1], [0]), ("to", INT64, [1], [2]), ("axis", INT64, [1], [1])]
FIRST = ("first", INT64, [1], [1])


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
# Each row's score depends on the rows beside it.
save(
    "over-the-batch",
    [("row", FLOAT, ["N", 13])],
    [first_two("row", "two"), node("Softmax", ["two"], "probabilities", axis=0)],
    TWO_COLUMNS,
    FIRST_TWO,
)
# Weights in a file of their own. The file is not here: the model is refused before it is looked for.
weights = helper.make_tensor("weights", FLOAT, [13, 2], [0.0] * 26)
weights.ClearField("float_data")
weights.data_location = TensorProto.EXTERNAL
weights.external_data.add(key="location", value="external.onnx.data")
save(
    "external",
    [("row", FLOAT, ["N", 13])],
    [node("MatMul", ["row", "weights"], "sums"), node("Sigmoid", ["sums"], "probabilities")],
    TWO_COLUMNS,
    tensors=[weights],
    check=False,
)


def endless(name, trips, initial):
    """A model that goes round a loop as often as `trips` says, and then scores as its second column does."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [node("Identity", ["go_on"], "goes_on"), node("Mul", ["state", "state"], "next")],
        "body",
        [value("i", INT64, []), value("go_on", TensorProto.BOOL, []), value("state", FLOAT, [1])],
        [value("goes_on", TensorProto.BOOL, []), value("next", FLOAT, [1])],
    )
    save(
        name,
        [("row", FLOAT, ["N", 13])],
        [
            *trips,
            helper.make_node("Loop", ["trips", "yes", initial], ["state"], body=body),
            first_two("row", "two"),
            node("Sigmoid", ["two"], "scores"),
            node("Add", ["scores", "state"], "probabilities"),
        ],
        TWO_COLUMNS,
        [*FIRST_TWO, FIRST, ("yes", TensorProto.BOOL, [], [True]), ("zero", FLOAT, [1], [0.0]), ("many", INT64, [], [2**62]), ("each", INT64, [], [10**5])],
    )


# A hundred thousand trips, of some microseconds each, for each unit of the first column: where that
# is 0 it is quick, and where it is an income it does not end.
endless(
    "long-by-input",
    [
        node("Slice", ["row", "from", "first", "axis"], "column"),
        node("ReduceMax", ["column"], "most", keepdims=0),
        node("Cast", ["most"], "times", to=INT64),
        node("Mul", ["times", "each"], "trips"),
    ],
    "zero",
)
# So many trips that it never ends, its golden rows included.
endless("never-ends", [node("Identity", ["many"], "trips")], "zero")
