"""What a step is for, in one sentence: for staircases and reports.

Enters: a `Step`. Leaves: English. The sentence says what the step does to the loops it names and
why a schedule wants that; whether it paid is for a measurement to say.
"""

from __future__ import annotations

from collections.abc import Callable

from pellucid.schedule.trace import Step


def explain(step: Step) -> str:
    """One sentence about a step; names the step alone where it is not one of the package's."""
    sentence = SENTENCES.get(step.name)
    return f"The step {step.name}." if sentence is None else sentence(*step.args)


def _lower(*_: object) -> str:
    return "The definition: one loop per index, in the order in which they are written."


def _split(var: object, factor: object, *_: object) -> str:
    return f"Loop {var} in blocks of {factor}, which can then be moved, kept near or shared out."


def _tile(variables: object, factors: object) -> str:
    return f"Loops {_names(variables)} in tiles of {_names(factors)}, whose data stays near."


def _reorder(*_: object) -> str:
    return "Another nesting, in which what the inner loops touch is used again soon."


def _fuse(outer: object, inner: object, *_: object) -> str:
    return f"Loops {outer} and {inner} become one, long enough to be shared out evenly."


def _unroll(var: object, *_: object) -> str:
    return f"Copies of the body instead of loop {var}: small buffers become registers."


def _lanes(var: object) -> str:
    return f"Iterations of {var} become lanes: one instruction does many of them."


def _parallelize(var: object) -> str:
    return f"Iterations of {var} are shared out to the threads."


def _pack(buffer: object, *_: object) -> str:
    return f"A copy of {buffer} in the order of use, so that reads follow memory."


def _halo(buffer: object, at: object) -> str:
    return f"In {at}, a copy of all of {buffer} that its windows read, with the zeros around it."


def _prefetch(buffer: object, at: object, *_: object) -> str:
    return f"In {at}, {buffer} is asked for before it is needed, so that nothing waits for it."


def _group(var: object, inner: object, fn: object, *_: object) -> str:
    return f"Products along {inner} by {fn}: several narrow numbers in one instruction."


def _stage(buffer: object, *_: object) -> str:
    return f"A tile of {buffer} in a small buffer of its own while the reduction runs."


def _distribute(var: object) -> str:
    return f"Each statement inside {var} gets a loop of its own, to be scheduled by itself."


def _isolate(var: object, inner: object, *_: object) -> str:
    return f"The part of {var} around {inner} gets a loop apart from what is beside it."


def _specialize(var: object) -> str:
    return f"Full blocks of {var} apart from the rest: their extents are constants."


def _peel(var: object) -> str:
    return f"The last iteration of {var} apart from the others, which need no test any more."


def _cut(var: object) -> str:
    return f"Loop {var} in pieces inside which no condition changes, so that none is tested."


def _privatize(*loops: object) -> str:
    return f"Partial results per iteration of {loops[-1]}, so that additions do not wait in line."


def _round_up(var: object, *_: object) -> str:
    return f"Loop {var} runs on to whole vectors; what is not there is zero and not read."


def _overrun(var: object, *_: object) -> str:
    return f"The last, shorter tile of {var} runs on as a full one and repeats its last work."


def _simplify(*_: object) -> str:
    return "Index arithmetic folded and loops of one iteration removed."


SENTENCES: dict[str, Callable[..., str]] = {
    "lower": _lower,
    "split": _split,
    "tile": _tile,
    "reorder": _reorder,
    "fuse": _fuse,
    "unroll": _unroll,
    "lanes": _lanes,
    "vectorize": _lanes,
    "parallelize": _parallelize,
    "pack": _pack,
    "halo": _halo,
    "prefetch": _prefetch,
    "group": _group,
    "stage": _stage,
    "distribute": _distribute,
    "isolate": _isolate,
    "specialize": _specialize,
    "peel": _peel,
    "cut": _cut,
    "privatize": _privatize,
    "rfactor": _privatize,
    "round_up": _round_up,
    "overrun": _overrun,
    "simplify": _simplify,
}


def _names(values: object) -> str:
    return ", ".join(map(str, values)) if isinstance(values, (list, tuple)) else str(values)
