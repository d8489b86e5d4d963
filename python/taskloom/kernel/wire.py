"""Jupyter messages as frames: parse, verify, change, sign.

Only what a go-between needs. Identities and buffers are kept as they came; a message that is not
changed keeps its very bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

DELIMITER = b"<IDS|MSG>"


class InvalidMessageError(ValueError):
    """Frames that are no Jupyter message, or whose signature is wrong."""


@dataclass
class Message:
    """One message: decoded parts, with the identities before and the buffers after them."""

    header: dict[str, Any]
    parent: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    content: dict[str, Any] = field(default_factory=dict)
    idents: list[bytes] = field(default_factory=list)
    buffers: list[bytes] = field(default_factory=list)

    @property
    def type(self) -> str:
        """The message type, as in the header."""
        return str(self.header.get("msg_type", ""))

    @property
    def id(self) -> str:
        """The message id, as in the header."""
        return str(self.header.get("msg_id", ""))

    @property
    def parent_id(self) -> str:
        """The id of the message that this one answers, or an empty string."""
        return str(self.parent.get("msg_id", ""))


class Wire:
    """Signs and verifies with the key of one connection file.

    Parameters
    ----------
    key : str
        The shared key; empty for unsigned messages.
    scheme : str
        ``hmac-`` and the name of a hash, as in the connection file.
    """

    def __init__(self, key: str, scheme: str = "hmac-sha256") -> None:
        self._key = key.encode()
        self._digest = getattr(hashlib, scheme.removeprefix("hmac-"))
        self._session = uuid.uuid4().hex

    def _sign(self, parts: list[bytes]) -> bytes:
        if not self._key:
            return b""
        return hmac.new(self._key, b"".join(parts), self._digest).hexdigest().encode()

    def parse(self, frames: list[bytes]) -> Message:
        """Decode frames as they came from a socket.

        Raises
        ------
        InvalidMessageError
            If the frames are no message, or not signed with the key.
        """
        try:
            at = frames.index(DELIMITER)
            signature, *parts = frames[at + 1 : at + 6]
            header, parent, metadata, content = (json.loads(part) for part in parts)
        except ValueError as error:
            raise InvalidMessageError("frames that are no Jupyter message") from error
        if not hmac.compare_digest(signature, self._sign(parts)):
            raise InvalidMessageError("a message with a wrong signature")
        return Message(header, parent, metadata, content, frames[:at], frames[at + 6 :])

    def frames(self, message: Message) -> list[bytes]:
        """Encode and sign a message."""
        decoded = (message.header, message.parent, message.metadata, message.content)
        parts = [json.dumps(part, ensure_ascii=False).encode() for part in decoded]
        return [*message.idents, DELIMITER, self._sign(parts), *parts, *message.buffers]

    def message(
        self, msg_type: str, content: dict[str, Any], parent: Message | None = None
    ) -> Message:
        """Make a message of the kernel's own, an answer to ``parent`` if there is one."""
        header = {
            "msg_id": uuid.uuid4().hex,
            "session": self._session,
            "username": "kernel",
            "date": datetime.now(timezone.utc).isoformat(),
            "msg_type": msg_type,
            "version": "5.3",
        }
        if parent is None:
            return Message(header, content=content)
        return Message(header, parent.header, content=content, idents=parent.idents)
