"""A list that a recorded loop only adds to: its items become rows of what the loop gives."""

from __future__ import annotations

from typing import Any, NoReturn

from pellucid.core.errors import TraceError
from pellucid.core.source import user_line


class Growing(list[Any]):
    """Stands for a list inside such a loop: items can be added, but not looked at."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TraceError(
            "convert",
            "a loop over a tensor adds to this list, so it cannot look into it",
            fix="keep what the next turn needs in a variable of its own",
            source=user_line(),
        )

    __getitem__ = __iter__ = __len__ = __contains__ = __setitem__ = __delitem__ = _refuse
    __eq__ = __add__ = __bool__ = _refuse
    pop = insert = remove = clear = sort = reverse = index = count = copy = _refuse

    def added(self) -> list[Any]:
        """What was added."""
        return list(super().__iter__())
