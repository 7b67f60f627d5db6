"""All operator records by name.

A family module offers `RECORDS`; this is the one place that lists the families. Tests, docs and the
graph parser read it. A user's own record need not be here to work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from pellucid.core.errors import ArgumentError
from pellucid.graph.op import Op
from pellucid.ops.arithmetic import RECORDS as ARITHMETIC_RECORDS
from pellucid.ops.binary import RECORDS as BINARY_RECORDS
from pellucid.ops.broadcast import RECORDS as BROADCAST_RECORDS
from pellucid.ops.casting import RECORDS as CASTING_RECORDS
from pellucid.ops.cholesky import RECORDS as CHOLESKY_RECORDS
from pellucid.ops.comparison import RECORDS as COMPARISON_RECORDS
from pellucid.ops.contraction import RECORDS as CONTRACTION_RECORDS
from pellucid.ops.conv import RECORDS as CONV_RECORDS
from pellucid.ops.conv_last import RECORDS as CONV_LAST_RECORDS
from pellucid.ops.conv_packed import RECORDS as CONV_PACKED_RECORDS
from pellucid.ops.conv_padded import RECORDS as CONV_PADDED_RECORDS
from pellucid.ops.conv_spread import RECORDS as CONV_SPREAD_RECORDS
from pellucid.ops.conv_winograd import RECORDS as CONV_WINOGRAD_RECORDS
from pellucid.ops.create import RECORDS as CREATE_RECORDS
from pellucid.ops.determinant import RECORDS as DETERMINANT_RECORDS
from pellucid.ops.eig import RECORDS as EIG_RECORDS
from pellucid.ops.eigh import RECORDS as EIGH_RECORDS
from pellucid.ops.expm import RECORDS as EXPM_RECORDS
from pellucid.ops.flash_attention import RECORDS as ATTENTION_RECORDS
from pellucid.ops.fourier import RECORDS as FOURIER_RECORDS
from pellucid.ops.identity import RECORDS as IDENTITY_RECORDS
from pellucid.ops.index import RECORDS as INDEX_RECORDS
from pellucid.ops.join import RECORDS as JOIN_RECORDS
from pellucid.ops.movement import RECORDS as MOVEMENT_RECORDS
from pellucid.ops.pairs import RECORDS as PAIRS_RECORDS
from pellucid.ops.parts import RECORDS as PARTS_RECORDS
from pellucid.ops.pseudoinverse import RECORDS as PSEUDOINVERSE_RECORDS
from pellucid.ops.qr import RECORDS as QR_RECORDS
from pellucid.ops.quotient import RECORDS as QUOTIENT_RECORDS
from pellucid.ops.random import RECORDS as RANDOM_RECORDS
from pellucid.ops.reduction import RECORDS as REDUCTION_RECORDS
from pellucid.ops.regular import RECORDS as REGULAR_RECORDS
from pellucid.ops.scan import RECORDS as SCAN_RECORDS
from pellucid.ops.sizes import RECORDS as SIZE_RECORDS
from pellucid.ops.solve import RECORDS as SOLVE_RECORDS
from pellucid.ops.sort import RECORDS as SORT_RECORDS
from pellucid.ops.sort_values import RECORDS as SORT_VALUES_RECORDS
from pellucid.ops.svd import RECORDS as SVD_RECORDS
from pellucid.ops.top_k import RECORDS as TOP_K_RECORDS
from pellucid.ops.unary import RECORDS as UNARY_RECORDS
from pellucid.ops.window import RECORDS as WINDOW_RECORDS
from pellucid.ops.winograd_gradient import RECORDS as WINOGRAD_GRADIENT_RECORDS


def collect(families: Iterable[Iterable[Op]]) -> Mapping[str, Op]:
    """Records by name.

    Raises:
        ArgumentError: two records have one name.
    """
    table: dict[str, Op] = {}
    for op in (op for family in families for op in family):
        if table.get(op.name, op) is not op:
            raise ArgumentError("catalogue", f"two records are called {op.name!r}")
        table[op.name] = op
    return MappingProxyType(table)


CATALOGUE: Mapping[str, Op] = collect(
    (
        ARITHMETIC_RECORDS,
        ATTENTION_RECORDS,
        BINARY_RECORDS,
        BROADCAST_RECORDS,
        CASTING_RECORDS,
        CHOLESKY_RECORDS,
        COMPARISON_RECORDS,
        CONTRACTION_RECORDS,
        CONV_LAST_RECORDS,
        CONV_PACKED_RECORDS,
        CONV_PADDED_RECORDS,
        CONV_RECORDS,
        CONV_SPREAD_RECORDS,
        CONV_WINOGRAD_RECORDS,
        CREATE_RECORDS,
        DETERMINANT_RECORDS,
        EIGH_RECORDS,
        EIG_RECORDS,
        EXPM_RECORDS,
        FOURIER_RECORDS,
        IDENTITY_RECORDS,
        INDEX_RECORDS,
        JOIN_RECORDS,
        MOVEMENT_RECORDS,
        PAIRS_RECORDS,
        PARTS_RECORDS,
        PSEUDOINVERSE_RECORDS,
        QR_RECORDS,
        QUOTIENT_RECORDS,
        RANDOM_RECORDS,
        REDUCTION_RECORDS,
        REGULAR_RECORDS,
        SCAN_RECORDS,
        SIZE_RECORDS,
        SOLVE_RECORDS,
        SORT_RECORDS,
        SORT_VALUES_RECORDS,
        SVD_RECORDS,
        TOP_K_RECORDS,
        UNARY_RECORDS,
        WINDOW_RECORDS,
        WINOGRAD_GRADIENT_RECORDS,
    )
)
