"""The same work in each framework: functions of arrays become candidates.

Enters: a function in a framework's own terms, and arrays. Leaves: a `Candidate` that runs it on
tensors made once, waits for the result, and can give it as arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

import pellucid as pl
from pellucid.bench.peers import load
from pellucid.bench.row import Array, Candidate, Load
from pellucid.graph.ir import Graph, Node, Value
from pellucid.graph.stats import graph_cost
from pellucid.ops.create import CONSTANT
from pellucid.ops.index import GATHER

Fn = Callable[..., Any]


def ours(fn: Fn, *arrays: Array) -> tuple[Candidate, Load]:
    """The function compiled by `jit`, and what its graph asks of the machine."""
    compiled, tensors = pl.jit(fn), [pl.Tensor(a) for a in arrays]
    load_of = graph_load(compiled.lower(*tensors).passes.graph)
    return _candidate(lambda: compiled(*tensors), _to_numpy), load_of


def ours_eager(fn: Fn, *arrays: Array) -> Candidate:
    """The function as it is, op by op."""
    tensors = [pl.Tensor(a) for a in arrays]
    return _candidate(lambda: fn(*tensors), _to_numpy)


def graph_load(graph: Graph) -> Load:
    """Operations of a graph, and its bytes: inputs and constants read once, outputs written once.

    An input that only gathers read counts the rows they take.
    """
    constants = (v for n in graph.nodes if n.op is CONSTANT for v in n.outputs)
    read = sum(_bytes_read(graph, v) for v in (*graph.inputs, *constants))
    return Load(graph_cost(graph).flops, read, sum(v.type.nbytes for v in graph.outputs))


def _bytes_read(graph: Graph, value: Value) -> int:
    """Bytes of a value that the nodes of the graph read, each once."""
    read = value.type.nbytes if value in graph.outputs else 0
    for node in graph.nodes:
        for i, operand in enumerate(node.inputs):
            if operand is value:
                read += _operand_bytes(node, i)
    return min(read, value.type.nbytes)


def _operand_bytes(node: Node, position: int) -> int:
    body = node.attrs.get("body")
    if isinstance(body, Graph) and len(body.inputs) == len(node.inputs):
        return _bytes_read(body, body.inputs[position])
    taken = node.outputs[0] if node.op is GATHER and position == 0 else node.inputs[position]
    return taken.type.nbytes


def numpy_call(fn: Fn, *arrays: Array) -> Candidate:
    """A function of NumPy arrays."""
    return _candidate(lambda: fn(*arrays), np.asarray)


def torch_call(fn: Fn, *arrays: Array, grad: Sequence[int] = ()) -> Candidate:
    """PyTorch, eager.

    Args:
        fn: takes tensors.
        arrays: what becomes tensors.
        grad: which of them want gradients.
    """
    tensors = _torch_tensors(arrays, grad)
    return _candidate(lambda: fn(*tensors), _from_torch)


def torch_compiled(
    fn: Fn, *arrays: Array, mode: str | None = None, grad: Sequence[int] = ()
) -> Candidate:
    """The same through `torch.compile`, in the mode that is given."""
    torch = load("torch")
    torch.compiler.reset()  # else many forms of one function end in eager mode
    compiled, tensors = torch.compile(fn, mode=mode), _torch_tensors(arrays, grad)
    return _candidate(lambda: compiled(*tensors), _from_torch)


def jax_call(fn: Fn, *arrays: Array) -> Candidate:
    """JAX, jitted; `fn` takes JAX arrays."""
    jax = load("jax")
    compiled, given = jax.jit(fn), [jax.device_put(a) for a in arrays]
    return _candidate(lambda: jax.block_until_ready(compiled(*given)), np.asarray)


def onnxruntime_call(model: bytes, **feeds: Array) -> Candidate:
    """A model in ONNX Runtime, all its optimisations on, inputs and outputs bound to memory."""
    ort = load("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = pl.get_num_threads(), 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return _candidate(lambda: session.run(None, feeds), np.asarray)


def openvino_call(model: bytes, **feeds: Array) -> Candidate:
    """A model in OpenVINO in float32, tuned for latency."""
    openvino = load("openvino")
    core = openvino.Core()
    how = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": pl.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(core.read_model(model), "CPU", how)
    request = compiled.create_infer_request()
    for name, array in feeds.items():
        request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
    count = len(compiled.outputs)

    def result() -> list[Array]:
        request.infer()
        return [np.array(request.get_output_tensor(i).data) for i in range(count)]

    return Candidate(request.infer, result)


def iree_call(mlir: str, *arrays: Array) -> Candidate:
    """A function `main` in MLIR, compiled by IREE for this processor, its inputs on its device."""
    compiler, runtime = load("iree.compiler"), load("iree.runtime")
    flags = ["--iree-llvmcpu-target-cpu=host"]
    code = compiler.compile_str(mlir, target_backends=["llvm-cpu"], extra_args=flags)
    config = runtime.Config("local-task")
    module = runtime.load_vm_module(runtime.VmModule.copy_buffer(config.vm_instance, code), config)
    given = [runtime.asdevicearray(config.device, a) for a in arrays]
    return _candidate(lambda: module.main(*given), lambda y: np.asarray(y.to_host()))


def _candidate(run: Callable[[], object], to_numpy: Callable[[Any], Array]) -> Candidate:
    return Candidate(run, lambda: [to_numpy(y) for y in _leaves(run())])


def _leaves(result: Any) -> Iterable[Any]:
    return result if isinstance(result, (list, tuple)) else (result,)


def _to_numpy(tensor: Any) -> Array:
    return np.asarray(tensor.numpy())


def _from_torch(tensor: Any) -> Array:
    return np.asarray(tensor.detach().numpy())


def _torch_tensors(arrays: Sequence[Array], grad: Sequence[int]) -> list[Any]:
    torch = load("torch")
    return [torch.from_numpy(a).requires_grad_(i in grad) for i, a in enumerate(arrays)]
