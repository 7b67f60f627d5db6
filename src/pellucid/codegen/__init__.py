"""Loop IR to machine code and to C: `llvm` for the host CPU, `c99` for export."""
