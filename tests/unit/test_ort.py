"""ONNX Runtime through its C API: the same bits as its Python module, clear refusals, slots of the table."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from alpha._core import ort
from alpha.errors import ModelError


def mlp(width: int = 8, classes: int = 3, batch: object = "N", extra: bool = False) -> bytes:
    rng = np.random.default_rng(width)
    w = [rng.standard_normal((width, 16)).astype(np.float32), rng.standard_normal((16, classes)).astype(np.float32)]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w1"], ["s"]),
        helper.make_node("Softmax", ["s"], ["p"], axis=1),
    ]
    outputs = [helper.make_tensor_value_info("p", TensorProto.FLOAT, [batch, classes])]
    if extra:
        nodes.append(helper.make_node("ArgMax", ["p"], ["label"], axis=1, keepdims=0))
        outputs.insert(0, helper.make_tensor_value_info("label", TensorProto.INT64, [batch]))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, width])]
    initial = [onnx.numpy_helper.from_array(a, f"w{i}") for i, a in enumerate(w)]
    graph = helper.make_graph(nodes, "mlp", inputs, outputs, initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


def python_scores(model: bytes, x: np.ndarray, output: str = "p") -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run([output], {session.get_inputs()[0].name: row[None]})[0] for row in x])


@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize("binding", [True, False])
@pytest.mark.parametrize("arena", [True, False])
def test_same_bits_as_the_python_module(batch: object, binding: bool, arena: bool) -> None:
    data = mlp(batch=batch, extra=True)
    x = np.random.default_rng(0).standard_normal((200, 8)).astype(np.float32)
    model = ort.OrtModel(data, output="p", arena=arena)
    assert (model.n_in, model.n_out) == (8, 3)
    kernel = model.kernel(binding=binding)
    assert kernel.run(x).tobytes() == python_scores(data, x).tobytes()
    assert kernel.failures == 0 and kernel.last_error() == ""


def test_two_kernels_of_one_model_in_two_threads() -> None:
    model = ort.OrtModel(mlp())
    x = np.random.default_rng(1).standard_normal((3000, 8)).astype(np.float32)
    expected = model.kernel().run(x).tobytes()
    results: list[bytes] = []

    def work() -> None:
        results.append(model.kernel().run(x).tobytes())

    threads = [threading.Thread(target=work) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == [expected, expected]


def test_a_kernel_outlives_the_names_that_made_it() -> None:
    model = ort.OrtModel(mlp())
    kernel = model.kernel()
    before = kernel.run(np.ones((1, 8))).tobytes()
    del model
    assert kernel.run(np.ones((1, 8))).tobytes() == before


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (b"\x80\x04K\x01.aaaaaaaaaa", "cannot load"),
        (mlp()[:-40], "cannot load"),
        (bytes(100), "cannot load"),
    ],
)
def test_bytes_that_are_no_model(data: bytes, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        ort.OrtModel(data)


def test_graphs_that_are_not_served() -> None:
    with pytest.raises(ModelError, match="no float32 output 'q'"):
        ort.OrtModel(mlp(), output="q")
    with pytest.raises(ModelError, match="no float32 output 'label'"):
        ort.OrtModel(mlp(extra=True), output="label")
    with pytest.raises(ModelError, match=r"float32 \[1, F\]"):
        ort.OrtModel(mlp(batch=2))
    with pytest.raises(ModelError, match="takes 8 features"):
        ort.OrtModel(mlp()).kernel().run(np.zeros((2, 9)))


def test_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHA_NO_ORT", "1")
    assert not ort.available() and ort.version() is None and "ALPHA_NO_ORT" in ort.unavailable_reason()
    with pytest.raises(ModelError, match="ALPHA_NO_ORT"):
        ort.OrtModel(mlp())
    monkeypatch.setenv("ALPHA_NO_ORT", "0")
    assert ort.available() and ort.version()


def test_the_library_is_found_without_importing_its_module() -> None:
    path = ort.library_path()
    assert path is not None and Path(path).is_absolute() and "libonnxruntime" in path


class _Raises:
    """An import hook that lets nobody look for ONNX Runtime."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] == "onnxruntime":
            raise RuntimeError("no\nsuch luck")


def test_an_import_hook_that_raises_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.meta_path", [_Raises, *sys.meta_path])
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    assert ort.library_path() is None
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_ort; sys.meta_path.insert(0, test_ort._Raises)\n"
        "from alpha._core import ort; print(ort.unavailable_reason())\n"
        "import alpha; rt = alpha.Runtime.from_artifact(sys.argv[2], instruments=['SIM0']); print(rt.stats()['why'])\n"
        "from alpha.cli.main import main; print(main(['doctor']))"
    )
    demo = Path(__file__).parents[2] / "artifacts" / "demo_mlp" / "v1"
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(demo)], capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith(
        "no ONNX Runtime library found (the search for it failed: RuntimeError: no such luck): pip"
    )
    assert lines[0] in lines[1] and lines[-1] == "1" and "Traceback" not in done.stderr


def _header() -> Path | None:
    named = os.environ.get("ALPHA_ORT_HEADER")
    found = [Path(named)] if named else sorted(Path("/usr/include").glob("**/onnxruntime_c_api.h"))
    return next((p for p in found if p.is_file()), None)


def test_slot_numbers_against_a_real_header(tmp_path: Path) -> None:
    header = _header()
    if header is None:
        pytest.skip("no onnxruntime_c_api.h here; set ALPHA_ORT_HEADER to compare the slot numbers with one")
    slots: dict[str, Any] = ort.slots()
    lines = "".join(f'printf("{n} %zu\\n", offsetof(OrtApi, {n}) / sizeof(void *));\n' for n in slots)
    source, program = tmp_path / "slots.c", tmp_path / "slots"
    source.write_text(
        f'#include <stddef.h>\n#include <stdio.h>\n#include "{header}"\nint main(void) {{ {lines} return 0; }}\n'
    )
    subprocess.run(["cc", str(source), "-o", str(program)], check=True)
    out = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout
    assert dict(re.findall(r"(\w+) (\d+)", out)) == {n: str(k) for n, k in slots.items()}
