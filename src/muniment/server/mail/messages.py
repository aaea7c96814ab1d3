"""What a message is: a class (service or something that people must have asked for), a subject, a text."""

from __future__ import annotations

from typing import ClassVar

from muniment.server.privacy.terms import MessageClass


class Message:
    """Subclasses are frozen dataclasses whose fields the template may use."""

    __slots__ = ()
    message_class: ClassVar[MessageClass]
    subject: ClassVar[str]
    template: ClassVar[str]
