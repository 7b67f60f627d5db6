"""The benchmark: each row of work against the peers that are installed, and the machine's limit.

Enters: names of rows. Leaves: a table, and the same as JSON. One row is one `Row` record in the
file of its group; `pellucid bench` runs them.
"""
