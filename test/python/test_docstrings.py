"""Public docstrings are numpydoc, with every parameter, its type and what it means."""

from __future__ import annotations

import inspect
import re

import pytest
from numpydoc.validate import validate

import taskloom

CODES = {
    "GL08": "there is one",
    "PR01": "all parameters",
    "PR02": "no others",
    "PR03": "in their order",
    "PR04": "with types",
    "PR05": "that end without a period",
    "PR07": "and descriptions",
    "RT01": "what is returned",
    "RT03": "and described",
    "SS03": "the summary is a sentence",
    "SS05": "in the imperative",
    "YD01": "what is yielded",
}


def public():
    """Names of what users call; exceptions are not made by them."""
    for name in taskloom.__all__:
        one = getattr(taskloom, name)
        if inspect.isclass(one) and issubclass(one, BaseException):
            continue
        if callable(one):
            yield f"taskloom.{name}"
        if inspect.isclass(one):
            for part, member in inspect.getmembers(one):
                ours = getattr(inspect.getmodule(member), "__name__", "taskloom")
                told = callable(member) or isinstance(member, property)
                if told and not part.startswith("_") and ours.startswith("taskloom"):
                    yield f"taskloom.{name}.{part}"


@pytest.mark.parametrize("name", sorted(set(public())))
def test_docstring(name):
    found = [text for code, text in validate(name)["errors"] if code in CODES]
    # Parameters that begin with an underscore are not for users.
    private = re.compile(r"Parameters \{('_\w+'(, )?)+\} not documented")
    assert [text for text in found if not private.match(text)] == []
