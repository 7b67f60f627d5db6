"""Take a program away: one C99 file and its header, and a way to try them here.

`export_c` writes the files, `compile_c` compiles and loads them with the system's C compiler.
"""

from pellucid.deploy.build import CProgram, compile_c, find_compiler
from pellucid.deploy.export import CExport, export_c
from pellucid.deploy.text import Port

__all__ = ["CExport", "CProgram", "Port", "compile_c", "export_c", "find_compiler"]
