"""Graph to graph rewrites that keep a program's meaning; one file each, with a public `run`.

Enters a verified graph, leaves a verified graph with the same inputs and output types. A pass
that finds nothing to do returns the very graph it was given. What runs, and in which order, is
data: `pellucid.compile.PASSES`.
"""
