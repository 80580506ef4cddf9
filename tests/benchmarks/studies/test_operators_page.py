"""Every operator of ONNX has its place in the tables, the page says what they say, and refusals say the way out."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from aerocam.benchmarks.studies.pages.operators import NEWEST_OPSET, REFUSED_FORMS, RENAMED, SIMPLER, main, page
from aerocam.errors import UnsupportedOperatorError, UsageError
from aerocam.export import export_model
from aerocam.export.destinations.tensorrt import FORMS
from aerocam.export.gradients.adjoints import ADJOINTS, NO_GRADIENT
from aerocam.export.gradients.adjoints.registry import REFUSED
from aerocam.export.gradients.autodiff import differentiate, nodes_between
from aerocam.export.nodes.builder import Builder
from checkout import ROOT
from onnx_graphs import beside_a_branch, f32, model, saved
from refused_operator import REASON, without_a_rule

PAGE = ROOT / "docs/operators.md"

node = helper.make_node


def schemas(deprecated: bool) -> set[str]:
    found = onnx.defs.get_all_schemas()
    return {item.name for item in found if item.domain == "" and item.deprecated == deprecated}


def test_every_operator_is_in_exactly_one_table() -> None:
    """A new version of onnx may bring operators: each is given a rule, or put into one of the other three."""
    kinds = (ADJOINTS, NO_GRADIENT, SIMPLER, REFUSED.keys() - SIMPLER)
    tables = [{name for name in names if "." not in name} for names in kinds]
    named = set().union(*tables)
    assert sum(map(len, tables)) == len(named)
    assert not schemas(deprecated=False) - named
    if onnx.defs.onnx_opset_version() >= NEWEST_OPSET:
        assert not named - schemas(deprecated=False)
        assert set(RENAMED) == schemas(deprecated=True)


def test_what_onnx_has_given_up_is_read_as_its_successor() -> None:
    x, opsets = f32(1, 2, 3, 3), {"Scatter": 10, "Upsample": 9}
    inputs = {"Scatter": {"i": np.array([[[[1]]]]), "u": f32(1, 1, 1, 1)}, "Upsample": {"s": np.float32([1, 1, 2, 2])}}
    for name, successor in RENAMED.items():
        old = model([node(name, ["x", *inputs[name]], ["y"])], {"x": x}, inputs[name], ["y"], opsets[name])
        converted = onnx.version_converter.convert_version(old, 17)
        assert [item.op_type for item in converted.graph.node if item.op_type != "Constant"] == [successor]


def refusing_rules() -> set[str]:
    """Operators whose rule can refuse a form, itself or in a function it calls."""
    calls: dict[str, set[str]] = {}
    raising, rules = set(), {}
    for path in (ROOT / "export/gradients/adjoints").glob("*.py"):
        for function in (item for item in ast.parse(path.read_text()).body if isinstance(item, ast.FunctionDef)):
            inner = list(ast.walk(function))
            calls[function.name] = {
                item.func.id for item in inner if isinstance(item, ast.Call) and isinstance(item.func, ast.Name)
            }
            if any(isinstance(item, ast.Raise) and "refused(" in ast.unparse(item) for item in inner):
                raising.add(function.name)
            for decorator in function.decorator_list:
                if isinstance(decorator, ast.Call):
                    rules.update({str(ast.literal_eval(name)): function.name for name in decorator.args})
    while more := {name for name, called in calls.items() if called & raising} - raising:
        raising |= more
    return {operator for operator, name in rules.items() if name in raising}


def test_every_form_that_a_rule_refuses_is_on_the_page() -> None:
    """The result of QLinearConv can have no other type than the two that its rule takes."""
    assert refusing_rules() - {"QLinearConv"} == set(REFUSED_FORMS)


def test_the_page_is_up_to_date(tmp_path: Path) -> None:
    """`make docs` writes it."""
    main([str(tmp_path / "page.md")])
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")
    with pytest.raises(UsageError, match="one file name is expected"):
        main([])


def test_the_page_has_a_row_per_operator() -> None:
    rows = [line for line in page().split("## TensorRT")[0].splitlines() if line.startswith("| ")]
    kinds = dict(line.strip("| ").split(" | ")[:2] for line in rows if line.count(" | ") >= 2)
    assert {name for name, kind in kinds.items() if kind == "rule"} == set(ADJOINTS)
    assert {name for name, kind in kinds.items() if kind.strip(" |") == "no gradient"} == set(NO_GRADIENT)
    assert {name for name, kind in kinds.items() if kind == "refused"} == set(REFUSED) - SIMPLER
    assert {name for name, kind in kinds.items() if kind == "simpler"} == SIMPLER
    count = (
        f"{len(ADJOINTS)} with an adjoint rule, {len(NO_GRADIENT)} without a gradient, {len(SIMPLER)} that become"
        f" simpler ones, {len(REFUSED.keys() - SIMPLER)} refused."
    )
    assert count in page()


def test_the_page_has_every_form_that_tensorrt_does_not_take() -> None:
    section = page().split("## TensorRT")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    told = {(operators, form, by) for operators, form, by, _ in rows if operators not in ("operator", "---")}
    refused = {(", ".join(form.operators) or "any", form.form, form.only or f"the {form.stage}") for form in FORMS}
    assert told == refused


def test_what_the_page_points_at_is_there() -> None:
    links = {part.split(")")[0] for part in page().split("](")[1:]}
    assert all((PAGE.parent / link).exists() for link in links)


def tensor(name: str, shape: list[int], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def body(operator: str) -> onnx.GraphProto:
    """Of an operator that holds a graph: Relu, of what it is given or of `a`."""
    square, row = [1, 4, 8, 8], [1, 8, 8]
    if operator == "If":
        return helper.make_graph([node("Relu", ["a"], ["branch"])], "b", [], [tensor("branch", square)])
    if operator == "Scan":
        return helper.make_graph([node("Relu", ["row"], ["out"])], "b", [tensor("row", row)], [tensor("out", row)])
    count, going, on = (
        tensor(name, [], kind)
        for name, kind in (("count", TensorProto.INT64), ("going", TensorProto.BOOL), ("on", TensorProto.BOOL))
    )
    nodes = [node("Identity", ["going"], ["on"]), node("Relu", ["state"], ["next"])]
    return helper.make_graph(nodes, "b", [count, going, tensor("state", square)], [on, tensor("next", square)])


def blocked(operator: str) -> list[onnx.NodeProto]:
    """From `a` (1, 4, 8, 8) to `b` of the same shape, through a node called `blocker`."""
    if operator in ("LSTM", "GRU", "RNN"):
        return [
            node("Reshape", ["a", "steps"], ["s"]),
            node(operator, ["s", "W", "R", "", "lengths"], ["h"], name="blocker", hidden_size=8),
            node("Reshape", ["h", "back"], ["b"]),
        ]
    if operator == "Scan":
        swap = {"scan_input_axes": [1], "scan_output_axes": [1]}
        return [node("Scan", ["a"], ["b"], name="blocker", body=body("Scan"), num_scan_inputs=1, **swap)]
    mean = [node("ReduceMean", ["a"], ["m"], keepdims=0), node("Greater", ["m", "zero"], ["yes"])]
    if operator == "If":
        branches = {"then_branch": body("If"), "else_branch": body("If")}
        return [*mean, node("If", ["yes"], ["b"], name="blocker", **branches)]
    if operator == "Loop":
        return [*mean, node("Loop", ["trips", "yes", "a"], ["b"], name="blocker", body=body("Loop"))]
    if operator == "SequenceAt":
        return [
            *mean,
            node("Cast", ["yes"], ["which"], to=TensorProto.INT64),
            node("SequenceConstruct", ["a", "a"], ["list"]),
            node("SequenceAt", ["list", "which"], ["b"], name="blocker"),
        ]
    return [node(operator, ["a"], ["b"], name="blocker")]


def network(operator: str) -> onnx.ModelProto:
    """The graph in which the operator blocks one of two ways."""
    nodes = beside_a_branch(blocked(operator))
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}.get(operator, 1)
    constants = {
        "w": f32(4, 3, 3, 3), "k": f32(4, 4, 1, 1), "zero": np.float32(0), "trips": np.array(2),
        "steps": np.array([4, 8, 8]), "W": f32(1, gates * 8, 8), "R": f32(1, gates * 8, 8, seed=1),
        "lengths": np.array([4, 4, 3, 4, 4, 4, 4, 4], np.int32),
        "back": np.array([1, 4, 8, 8]),
    }  # fmt: skip
    read = {name for item in nodes for name in item.input}
    used = {name: array for name, array in constants.items() if name in read}
    proto = model(nodes, {"x": f32(1, 3, 8, 8)}, used, ["y"], opset=17)
    if operator == "Loop":  # onnx does not infer its shapes, exporters write them down
        del proto.graph.value_info[:]
        proto.graph.value_info.append(tensor("b", [1, 4, 8, 8]))
    return proto


@pytest.mark.parametrize(
    ("operator", "reason"),
    [
        ("LSTM", "export the model with the steps unrolled"),
        ("GRU", "export the model with the steps unrolled"),
        ("RNN", "export the model with the steps unrolled"),
        ("Loop", "export the model with the loop unrolled"),
        ("Scan", "export the model with the loop unrolled"),
        ("If", "where the condition is a constant, its branch is inlined"),
        ("SequenceAt", "it works on a list of tensors"),
        ("", REASON),
    ],
)
def test_a_refusal_names_node_operator_reason_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operator: str, reason: str
) -> None:
    operator = operator or without_a_rule(monkeypatch)
    path = saved(tmp_path, network(operator))
    message = (
        rf"operator {operator} \(node 'blocker', output '\w+'\) lies between the target layer and the score and has no"
        rf" adjoint rule: .*{reason}.*; choose a target layer behind it, the nearest is '\w+'"
        r" \(aerocam layers MODEL shows them\)"
    )
    with pytest.raises(UnsupportedOperatorError, match=message) as refused:
        export_model(path, layers="a")
    nearest = str(refused.value).split("nearest is '")[1].split("'")[0]
    assert nearest in ("b", "sum")
    done = export_model(path, layers=nearest)
    assert done.report is not None
    assert done.report.gradients[nearest] < 0.1


def test_no_layer_is_named_where_none_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the last pooling no tensor has positions."""
    operator = without_a_rule(monkeypatch)
    nodes = [
        node("GlobalAveragePool", ["x"], ["p"]),
        node(operator, ["p"], ["s"], name="blocker"),
        node("Flatten", ["s"], ["y"]),
    ]
    graph = ir.from_proto(model(nodes, {"x": f32(1, 3, 8, 8)}, {}, ["y"])).graph
    message = rf"operator {operator} .* choose a target layer behind it \(aerocam layers MODEL shows them\)$"
    with pytest.raises(UnsupportedOperatorError, match=message):
        differentiate(op := Builder(graph), graph.outputs[0], op.constant(f32(1, 3)), [graph.inputs[0]])


def test_what_branches_read_from_outside_is_on_the_path() -> None:
    """An If takes its condition alone as input; its branches take the layer, or what is computed from it, by name."""
    proto = network("If")
    inner = [attribute.g for attribute in proto.graph.node[3].attribute]
    proto.graph.node.insert(1, node("Sigmoid", ["a"], ["gate"]))
    inner[0].node[0].input[0] = "gate"
    graph = ir.from_proto(proto).graph
    (layer,) = [y for item in graph for y in item.outputs if y.name == "a"]
    path = nodes_between(graph, [layer], graph.outputs[0])
    expected = ["Sigmoid", "If", "Relu", "Add", "Conv", "GlobalAveragePool", "Flatten"]
    assert [item.op_type for item in path] == expected


def test_an_operator_of_another_domain_is_not_taken_for_its_namesake() -> None:
    """`Round` has no gradient, `my.ops.Round` may have one."""
    proto = network("Round")
    assert len(differentiated(proto)) == 1
    proto.graph.node[1].domain = "my.ops"
    proto.opset_import.append(helper.make_opsetid("my.ops", 1))
    with pytest.raises(UnsupportedOperatorError, match=r"operator my\.ops\.Round \(node 'blocker'"):
        differentiated(proto)


def differentiated(proto: onnx.ModelProto) -> list[ir.Value]:
    graph = ir.from_proto(proto).graph
    (layer,) = [y for item in graph for y in item.outputs if y.name == "a"]
    return differentiate(op := Builder(graph), graph.outputs[0], op.constant(f32(1, 4)), [layer])
