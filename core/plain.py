"""Things in a form that logs and other nodes can take, whatever a user's own `__str__` and `__repr__` do."""

import traceback

from .errors import RemoteError

FRAMES_LIMIT = 50  # of a traceback that travels
TEXT_LIMIT = 10_000  # characters of an exception's text that travels


def plain_error(error: BaseException) -> tuple[str, str, str]:
    """An exception as type name, text and traceback text; what its own `__str__` raises is contained."""
    if isinstance(error, RemoteError):
        return error.type_name, error.text, error.traceback_text
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 -- the user's __str__ or __repr__ may raise anything
        text = "(its text cannot be made)"
    try:
        frames = "".join(traceback.format_exception(error, limit=-FRAMES_LIMIT))
    except BaseException:  # noqa: BLE001 -- the user's __str__ or __repr__ may raise anything
        frames = ""
    return clean(name), clean(text[:TEXT_LIMIT]), clean(frames[-4 * TEXT_LIMIT :])


def in_words(error: BaseException, limit: int = 500) -> str:
    """An exception in a message of another one: `OSError: no device`."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 -- as above
        text = "(its text cannot be made)"
    name = type(error).__qualname__
    return clean(f"{name}: {text[:limit]}" if text else name)


def show(value: object, limit: int = 200) -> str:
    """`repr` for people and logs, cut to `limit` characters; what a `__repr__` raises is contained."""
    try:
        text = repr(value)
    except BaseException as error:  # noqa: BLE001 -- the user's __str__ or __repr__ may raise anything
        text = f"<{type(value).__qualname__} whose repr raised {type(error).__name__}>"
    return clean(text if len(text) <= limit else text[: limit - 1] + "…")


def clean(text: str) -> str:
    """The text without the lone surrogates that cannot be encoded."""
    return text.encode("utf-8", "replace").decode("utf-8")
