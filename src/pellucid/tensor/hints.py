"""What to write instead of names from other libraries: answers for attributes that do not exist."""

from __future__ import annotations

from collections.abc import Iterable

from pellucid.core.errors import did_you_mean

_METHODS = {
    "numel": "x.size",
    "dim": "x.ndim",
    "element_size": "x.dtype.itemsize",
    "float": "x.astype('float32')",
    "double": "x.astype('float64')",
    "half": "x.astype('float16')",
    "bfloat16": "x.astype('bfloat16')",
    "long": "x.astype('int64')",
    "int": "x.astype('int32')",
    "bool": "x.astype('bool')",
    "type_as": "x.astype(other.dtype)",
    "cpu": "x itself: tensors are in the CPU's memory",
    "cuda": "x itself: there is no GPU target yet",
    "contiguous": "x itself: tensors are always contiguous",
    "data": "x.detach()",
    "clamp": "x.clip(min, max)",
    "t": "x.T",
    "mm": "x @ y",
    "matmul": "x @ y",
    "dot": "x @ y",
    "masked_fill": "pellucid.where(mask, value, x)",
    "topk": "pellucid.top_k(x, k)",
    "chunk": "pellucid.split(x, sections, axis)",
    "norm": "(x * x).sum().sqrt()",
    "copy_": "assign_, of a Buffer or Parameter",
    "fill_": "assign_, of a Buffer or Parameter",
    "zero_": "assign_, of a Buffer or Parameter",
    "add_": "x += y",
    "mul_": "x *= y",
}
_MODULE = {
    "array": "pellucid.Tensor(data)",
    "from_numpy": "pellucid.Tensor(array)",
    "as_tensor": "pellucid.asarray(data)",
    "cat": "pellucid.concatenate(tensors, axis)",
    "topk": "pellucid.top_k(x, k)",
    "clamp": "pellucid.clip(x, min, max)",
    "DataLoader": "pellucid.data.batches(x, y, batch_size)",
    "Module": "pellucid.nn.Module",
    "compile": "pellucid.jit(fn)",
    "bernoulli": "pellucid.default_generator.bernoulli(shape, p)",
    "normal": "pellucid.randn(*shape)",
    "uniform": "pellucid.rand(*shape)",
    "random": "pellucid.rand(*shape), or a pellucid.Generator",
    "scatter": "pellucid.scatter_set, or x[indices] = values",
    "index_select": "pellucid.take(x, indices, axis)",
    "cuda": "nothing: tensors are in the CPU's memory",
    "gammaln": "pellucid.lgamma(x)",
    "expit": "pellucid.sigmoid(x)",
    "psi": "pellucid.digamma(x)",
    "put_along_axis": "pellucid.scatter_set, or x[indices] = values",
    "partition": "pellucid.sort(x, axis)",
    "argpartition": "pellucid.argsort(x, axis)",
    "autograd": "pellucid.grad, pellucid.vjp, or pellucid.Function for a rule of your own",
    "func": "pellucid.grad, pellucid.vmap and the other transforms as they are",
    "functional_call": "pellucid.nn.functional_call(module, parameters, x)",
    "remat": "pellucid.checkpoint(fn)",
    "tree_map": "pellucid.tree.map(fn, tree)",
    "tree_util": "pellucid.tree",
}
_OTHER_NAMES = {  # NumPy's and PyTorch's for what has one name here
    "absolute": "abs", "amax": "max", "amin": "min", "around": "round", "rint": "round",
    "arccos": "acos", "arccosh": "acosh", "arcsin": "asin", "arcsinh": "asinh",
    "arctan": "atan", "arctan2": "atan2", "arctanh": "atanh", "bitwise_not": "bitwise_invert",
    "invert": "bitwise_invert", "degrees": "rad2deg", "radians": "deg2rad",
    "fabs": "abs", "fix": "trunc", "left_shift": "bitwise_left_shift", "mod": "remainder",
    "right_shift": "bitwise_right_shift", "power": "pow", "true_divide": "divide",
    "row_stack": "vstack", "trapz": "trapezoid", "neg": "negative", "sub": "subtract",
    "mul": "multiply", "div": "divide", "eq": "equal", "ne": "not_equal", "lt": "less",
    "le": "less_equal", "gt": "greater", "ge": "greater_equal", "clamp_min": "maximum",
    "clamp_max": "minimum", "movedim": "moveaxis", "permute": "permute_dims", "sgn": "sign",
}  # fmt: skip
_MODULE |= {theirs: f"pellucid.{ours}" for theirs, ours in _OTHER_NAMES.items()}


def missing_method(name: str, functions: Iterable[str]) -> str:
    """The message for an attribute that no tensor has."""
    return _message("a Tensor", name, _METHODS, functions, "pellucid.{}(x)")


def missing_name(name: str, names: Iterable[str]) -> str:
    """The message for a name that the package does not have."""
    return _message("pellucid", name, _MODULE, names, "pellucid.{}")


def _message(
    owner: str, name: str, answers: dict[str, str], known: Iterable[str], form: str
) -> str:
    choices = list(known)
    text = f"{owner} has no attribute {name!r}"
    if name in answers:
        return f"{text}. Fix: use {answers[name]}"
    if name in choices:
        return f"{text}. Fix: use {form.format(name)}"
    hint = did_you_mean(name, choices)
    return f"{text}. Fix: {hint}" if hint else text
