"""What the certification authority refuses: a stable code for programs, a sentence for people."""

from __future__ import annotations

from holdfast.errors import Error


class Refused(Error):
    """A request, certificate, list or key that does not meet the rules; `code` never changes."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
