from collections.abc import Mapping, Sequence
from typing import Any, final

from alpha.sessions import SessionTable

@final
class Checks:
    n_instruments: int
    def __new__(
        cls,
        n_instruments: int,
        *,
        sessions: Sequence[SessionTable | None] | None = ...,
        inactive: bool = ...,
        max_age_ns: int | None = ...,
        max_age_peers_ns: int | None = ...,
        max_age_inputs_ns: int | None = ...,
        n_inputs: int = ...,
        drift: Mapping[str, Any] | None = ...,
        breaker: Mapping[str, int] | None = ...,
    ) -> Checks: ...
