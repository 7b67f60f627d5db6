"""Recipes: which schedule steps a kernel gets, by the shape of its nest."""

from pellucid.schedule.recipes.choose import schedule_kernel

__all__ = ["schedule_kernel"]
