"""What to write instead of names from other libraries: answers for attributes that do not exist."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import ModuleType
from typing import Any

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
    "gather": "pellucid.take_along_axis(x, indices, axis)",
    "repeat": "pellucid.tile(x, counts), or pellucid.repeat(x, n, axis) element by element",
    "split": "pellucid.split(x, sections, axis): a number of parts, or their sizes",
    "norm": "pellucid.linalg.norm(x)",
    "inverse": "pellucid.linalg.inv(x)",
    "H": "x.mT.conj()",
    "mH": "x.mT.conj()",
    "pow": "x ** y",
    "repeat_interleave": "pellucid.repeat(x, repeats, axis)",
    "masked_select": "x[mask]",
    "index_select": "pellucid.take(x, indices, axis)",
    "unbind": "pellucid.unstack(x, axis)",
    "unique": "pellucid.unique_values(x)",
    "unflatten": "x.reshape(...)",
    "view_as": "x.reshape(other.shape)",
    "expand_as": "x.broadcast_to(other.shape)",
    "copy": "x.clone()",
    "ndimension": "x.ndim",
    "nelement": "x.size",
    "itemsize": "x.dtype.itemsize",
    "is_floating_point": "x.dtype.is_float",
    "is_contiguous": "nothing: tensors are always contiguous",
    "retain_grad": "pellucid.grad, with the value as an argument",
    "register_hook": "pellucid.custom_vjp",
    "grad_fn": "pellucid.jit(fn).lower(x).graph to see what was recorded",
    "block_until_ready": "x itself: an operation has run when it returns",
    "sub_": "x -= y",
    "div_": "x /= y",
    "scatter_": "pellucid.scatter_set, or x[indices] = values",
    "scatter_add_": "pellucid.scatter_add",
    "index_put_": "x[indices] = values",
    "at": "x[indices] = values on a copy, or pellucid.scatter_add",
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
    "dtype": "pellucid.float32 and the like, or pellucid.DType for the type of them",
    "device": "the string 'cpu': there is one device",
    "float": "pellucid.float32",
    "double": "pellucid.float64",
    "half": "pellucid.float16",
    "int": "pellucid.int32",
    "long": "pellucid.int64",
    "bool": "pellucid.bool_",
    "ndarray": "pellucid.Tensor",
    "Array": "pellucid.Tensor",
    "is_tensor": "isinstance(x, pellucid.Tensor)",
    "copy": "x.clone()",
    "shape": "x.shape",
    "size": "x.size",
    "ndim": "x.ndim",
    "numel": "x.size",
    "unique": "pellucid.unique_values(x)",
    "unbind": "pellucid.unstack(x, axis)",
    "chunk": "pellucid.split(x, sections, axis)",
    "repeat_interleave": "pellucid.repeat(x, repeats, axis)",
    "argwhere": "pellucid.stack(pellucid.nonzero(x), axis=-1)",
    "flatnonzero": "pellucid.nonzero(x.flatten())[0]",
    "masked_fill": "pellucid.where(mask, value, x)",
    "masked_select": "x[mask]",
    "mm": "x @ y",
    "bmm": "x @ y",
    "mv": "x @ y",
    "addmm": "c + x @ y",
    "baddbmm": "c + x @ y",
    "lerp": "x + weight * (y - x)",
    "frac": "x - pellucid.trunc(x)",
    "multinomial": "pellucid.searchsorted(pellucid.cumsum(p), pellucid.rand(n))",
    "seed": "pellucid.manual_seed(number)",
    "key": "pellucid.manual_seed(number), or a pellucid.Generator(number)",
    "PRNGKey": "pellucid.manual_seed(number), or a pellucid.Generator(number)",
    "inference_mode": "pellucid.no_grad(), or pellucid.freeze(model, x)",
    "set_grad_enabled": "pellucid.enable_grad() or pellucid.no_grad()",
    "numpy": "pellucid itself: NumPy's functions are in it; x.numpy() gives an array",
    "lax": "pellucid itself: cond, scan, while_loop and the others are in it",
    "eval_shape": "pellucid.infer_shapes(fn, types)",
    "ShapeDtypeStruct": "pellucid.infer_shapes with types such as 'f32[8, 4]'",
    "make_jaxpr": "pellucid.jit(fn).lower(*args).graph",
    "disable_jit": "the function without jit: eager is the default",
    "pmap": "pellucid.vmap(fn): there is one device",
    "pure_callback": "pellucid.custom_op: a function of NumPy arrays",
    "vectorize": "pellucid.vmap(fn)",
    "apply_along_axis": "pellucid.vmap(fn, in_axes=..., out_axes=...)",
    "dynamic_slice": "pellucid.take(x, start + pellucid.arange(size), axis)",
    "dynamic_update_slice": "x[indices] = values, of a copy",
    "device_put": "nothing: tensors are in the CPU's memory",
    "device_get": "x.numpy()",
    "block_until_ready": "nothing: an operation has run when it returns",
    "utils": "pellucid.checkpoint and pellucid.data",
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


_SPACES = {
    "linalg": {
        "matrix_exp": "pellucid.linalg.expm(x)",
        "logdet": "pellucid.linalg.slogdet(x).logabsdet",
        "lu": "pellucid.linalg.solve, or pellucid.linalg.qr",
        "lu_factor": "pellucid.linalg.solve, or pellucid.linalg.qr",
        "vander": "pellucid.vander(x)",
        "inv_ex": "pellucid.linalg.inv(x)",
        "tensorsolve": "pellucid.linalg.solve of reshaped arrays",
        "tensorinv": "pellucid.linalg.inv of a reshaped array",
    },
    "nn.functional": {
        "binary_cross_entropy": "binary_cross_entropy_with_logits, before the sigmoid",
        "smooth_l1_loss": "huber_loss",
        "conv1d": "conv2d with an axis of one row: x[:, :, None]",
        "normalize": "x / pellucid.linalg.vector_norm(x, axis=1, keepdims=True)",
        "interpolate": "pellucid.repeat along each axis, or x[..., rows, :][..., columns]",
    },
    "nn": {
        "BCELoss": "BCEWithLogitsLoss, before the sigmoid",
        "SmoothL1Loss": "HuberLoss",
        "Conv1d": "Conv2d((1, k)) on an axis of one row: x[:, :, None]",
        "RNN": "pellucid.scan over the steps",
        "GRU": "pellucid.scan over the steps",
        "LSTM": "pellucid.scan over the steps",
        "ParameterList": "ModuleList, or attributes: self.w0, self.w1",
        "utils": "pellucid.optim.clip_grad_norm_ and clip_grad_value_",
    },
    "optim": {
        "lr_scheduler": "pellucid.optim itself: schedules are beside the optimisers",
        "LinearLR": "LinearWarmup, or LambdaLR",
        "ExponentialLR": "LambdaLR(optimizer, lambda epoch: gamma**epoch)",
        "MultiStepLR": "LambdaLR",
    },
    "data": {
        "DataLoader": "pellucid.data.batches(x, y, batch_size)",
        "TensorDataset": "pellucid.data.batches(x, y, batch_size)",
        "Dataset": "arrays, with pellucid.data.batches(x, y, batch_size)",
        "random_split": "pellucid.data.train_test_split(x, y)",
    },
    "fft": {},
}  # fmt: skip


def missing_method(name: str, functions: Collection[str], attributes: Collection[str]) -> str:
    """The message for an attribute that no tensor has."""
    text = f"a Tensor has no attribute {name!r}"
    return text + _fix(name, _METHODS, [*attributes, *functions], {"pellucid.{}(x)": functions})


def missing_name(
    name: str, names: Collection[str], elsewhere: Mapping[str, Collection[str]]
) -> str:
    """The message for a name that the package does not have; `elsewhere`: others, by their form."""
    text = f"pellucid has no attribute {name!r}"
    return text + _fix(name, _MODULE, names, elsewhere)


def answers(
    space: str, known: Collection[str], functions: Collection[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` for the module `pellucid.<space>`.

    The first says what to write instead of a name that is missing, the second offers what is for
    users.

    Args:
        space: the part of the name after `pellucid.`.
        known: what the module has.
        functions: what `pellucid` itself has beside it.
    """

    def missing(name: str) -> Any:
        hint = _fix(name, _SPACES[space], known, {"pellucid.{}": functions})
        raise AttributeError(f"pellucid.{space} has no attribute {name!r}{hint}", name=name)

    return missing, lambda: sorted(known)


def functions_of(module: ModuleType) -> list[str]:
    """The names of the functions that a module defines for its users."""
    own = (n for n, f in vars(module).items() if getattr(f, "__module__", "") == module.__name__)
    return [name for name in own if not name.startswith("_")]


def _fix(
    name: str,
    answers: Mapping[str, str],
    known: Collection[str],
    elsewhere: Mapping[str, Collection[str]],
) -> str:
    """What to write: an answer, the name where it is, or a known one that is spelt alike."""
    if name.startswith("_"):  # Python asks for many of these
        return ""
    if name in answers:
        return f". Fix: use {answers[name]}"
    for form, names in elsewhere.items():
        if name in names:
            return f". Fix: use {form.format(name)}"
    hint = did_you_mean(name, known)
    return f". Fix: {hint}" if hint else ""
