"""Control flow as operator records: `cond`, `switch`, `while_loop` and `scan` as nodes."""

from pellucid.autodiff.scan import SCAN
from pellucid.autodiff.switch import SWITCH
from pellucid.autodiff.while_loop import WHILE_LOOP
from pellucid.graph.op import Op

RECORDS: tuple[Op, ...] = (SCAN, SWITCH, WHILE_LOOP)
"""Those of control flow; like `call`, they stand above `ops/`, since their rules are autodiff's."""
