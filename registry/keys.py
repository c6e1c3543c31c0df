"""Where the registry keeps what in the store: one letter or two, a slash, and the name in canonical bytes.

    n/<name>   [pid, metadata]                            in the session of the owner's node
    m/<node>   a member record                            in the session of that node
    sw/<name>  what singleton is wanted                   durable
    sa/<name>  the node it is assigned to                 durable, written by controllers
    so/<name>  who owns it                                in the session of the owner's node
    sc/<name>  its last checkpoint                        durable, written by owners
    sh/<name>  the fences that were handed over lately    durable, written by owners

Text sorts as itself, so that names can be listed by prefix; everything else goes by `canonical`, in which types stay
apart and equal values have equal bytes. The longest name is what is left of the store's limit on keys.
"""

from quorate.consensus import KEY_LIMIT_BYTES
from quorate.core import Codec, DecodeError, TooLarge, canonical

NAMES = b"n/"
MEMBERS = b"m/"
WANTS = b"sw/"
ASSIGNMENTS = b"sa/"
OWNERS = b"so/"
CHECKPOINTS = b"sc/"
HANDED_OVER = b"sh/"

_TEXT, _OTHER = b"s", b"v"
_LIMIT_BYTES = KEY_LIMIT_BYTES - 3
_CODEC = Codec()


def encode_name(name: object) -> bytes:
    """A name as bytes; equal names give equal bytes, 1 and True and "1" are three names.

    Raises `EncodeError` for what cannot be a name, `TooLarge`.
    """
    data = _TEXT + name.encode() if isinstance(name, str) else _OTHER + canonical(name)
    if len(data) > _LIMIT_BYTES:
        raise TooLarge(
            f"a name of {len(data)} bytes is over the limit of {_LIMIT_BYTES}: make it shorter",
            size_bytes=len(data),
            limit_bytes=_LIMIT_BYTES,
        )
    return data


def encode_prefix(prefix: str) -> bytes:
    """What the bytes of all names begin with that are text and begin with `prefix`; of all names, for ""."""
    return _TEXT + prefix.encode() if prefix else b""


def decode_name(data: bytes) -> object:
    """The name that `encode_name` made these bytes of. Raises `DecodeError`."""
    if data[:1] == _TEXT:
        try:
            return data[1:].decode()
        except UnicodeDecodeError as error:
            raise DecodeError(f"{data!r} is no name: {error}") from error
    if data[:1] == _OTHER:
        return _CODEC.decode(data[1:])
    raise DecodeError(f"{data!r} is no name")
