"""KunQuant's streaming mode where it computes the same: it compiles the expressions (with the C++ compiler that is
there) and steps many instruments at once. Fed from Python, as it offers it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

C, H, L = 'bar("1m").close', 'bar("1m").high', 'bar("1m").low'
OURS = {
    "sma": f"mean({C}, 20)",
    "std": f"std({C}, 20, ddof=1)",
    "lowest": f"min({L}, 14)",
    "highest": f"max({H}, 14)",
    "roc": f"ret({C}, 9)",
}
"""Ours for each of its outputs."""
_FIELDS = {"high": 1, "low": 2, "close": 3}


def stepper(instruments: int) -> Callable[[npt.NDArray[np.float64]], dict[str, npt.NDArray[np.float64]]]:
    """A function of bars [n, instruments, 5] (open high low close volume) that goes on from call to call and gives the
    newest outputs of every instrument."""
    from KunQuant.Driver import KunCompilerConfig
    from KunQuant.jit import cfake
    from KunQuant.Op import Builder, Input, Output
    from KunQuant.ops import BackRef, Div, Sub, WindowedAvg, WindowedMax, WindowedMin, WindowedStddev
    from KunQuant.runner import KunRunner
    from KunQuant.Stage import Function

    builder = Builder()
    with builder:
        close, high, low = Input("close"), Input("high"), Input("low")
        old = BackRef(close, 9)
        Output(WindowedAvg(close, 20), "sma")
        Output(WindowedStddev(close, 20), "std")
        Output(WindowedMin(low, 14), "lowest")
        Output(WindowedMax(high, 14), "highest")
        Output(Div(Sub(close, old), old), "roc")
    config = KunCompilerConfig(
        input_layout="STREAM",
        output_layout="STREAM",
        dtype="double",
        blocking_len=4,
        partition_factor=8,
        options={"opt_reduce": False},
    )
    library = cfake.compileit(
        [("common", Function(builder.ops), config)], "alpha_bench_common", cfake.CppCompilerConfig()
    )
    stream = KunRunner.StreamContext(KunRunner.createSingleThreadExecutor(), library.getModule("common"), instruments)
    inputs = [(stream.queryBufferHandle(name), field) for name, field in _FIELDS.items()]
    outputs = {name: stream.queryBufferHandle(name) for name in OURS}

    def step(bars: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float64]]:
        fields = [(handle, np.ascontiguousarray(bars[:, :, field])) for handle, field in inputs]
        for i in range(len(bars)):
            for handle, values in fields:
                stream.pushData(handle, values[i])
            stream.run()
        return {name: np.array(stream.getCurrentBuffer(handle)) for name, handle in outputs.items()}

    step.library = library  # type: ignore[attr-defined] # the stream uses its code
    return step
