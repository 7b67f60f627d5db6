"""Source conversion: plain Python control flow on tensors, recorded as `switch`, `while_loop` and
`scan`.

Enters: a Python function. Leaves: one that does the same, with each construct a call of the
runtime. In order: `source` finds the syntax tree, `refused` looks for what cannot be converted,
`jumps` lowers `break`, `continue` and `return`, `names` and `liveness` tell what blocks change and
need, `statements` and `expressions` rewrite, `rewrite` compiles under the original's lines. While
it runs, `logic`, `branches`, `loops` and `calls` decide between running and recording. A block is
recorded by `regions`; `journal` tells what it changes besides its own variables, `leaves` and
`plans` join the types, `emit` makes the nodes of loops.
"""
