"""The `pellucid` command."""
