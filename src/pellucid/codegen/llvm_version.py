"""Which LLVM generates the code."""

from __future__ import annotations

import llvmlite
import llvmlite.binding as llvm

LLVM_VERSION = f"llvmlite {llvmlite.__version__} LLVM {'.'.join(map(str, llvm.llvm_version_info))}"
