"""The audit: every promise tried on the live installation, and what came of it."""

from holdfast.audit.catalogue import Catalogue, Control, load_catalogue
from holdfast.audit.judgement import Exceptions, State, Verdict
from holdfast.audit.runner import Audit, run

__all__ = [
    "Audit",
    "Catalogue",
    "Control",
    "Exceptions",
    "State",
    "Verdict",
    "load_catalogue",
    "run",
]
