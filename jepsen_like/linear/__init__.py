"""Linearizability: whether what the clients of an object were told can have come from one object, in one order.

`check_linearizable` judges a history under a model; `parse_history` reads one from a text in any of the common forms.
"""

from .check import MAX_STATES, MAX_STEPS, LinearResult, check_linearizable
from .explain import explain
from .files import parse_history
from .models import ABSENT, Effect, Model, Refusal, Rules
from .operations import MODEL_NAMES, Operation, find_model, partition
from .search import Search

__all__ = [
    "ABSENT",
    "MAX_STATES",
    "MAX_STEPS",
    "MODEL_NAMES",
    "Effect",
    "LinearResult",
    "Model",
    "Operation",
    "Refusal",
    "Rules",
    "Search",
    "check_linearizable",
    "explain",
    "find_model",
    "parse_history",
    "partition",
]
