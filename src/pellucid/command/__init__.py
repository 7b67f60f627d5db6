"""The `pellucid` command, built on the public API: tour, machine, cache."""
