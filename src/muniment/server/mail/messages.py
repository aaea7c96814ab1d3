"""What a message is: a class (service, or something that people must have asked for), a subject, a text.

    @dataclass(frozen=True)
    class PasswordChanged(Message):
        message_class: ClassVar = MessageClass.SERVICE
        subject: ClassVar = "Your password was changed"
        template: ClassVar = "accounts/mail/password_changed.txt"

A message without a class cannot even be defined. Every template under a `mail/` directory belongs to exactly
one message; `checking` holds the program to it.
"""

from __future__ import annotations

from typing import ClassVar

from muniment.server.privacy.terms import MessageClass

MESSAGES: list[type[Message]] = []
"""Every message that can be sent."""


class Message:
    """Subclasses are frozen dataclasses whose fields the template may use."""

    __slots__ = ()
    message_class: ClassVar[MessageClass]
    subject: ClassVar[str]
    template: ClassVar[str]

    @property
    def headline(self) -> str:
        """What stands in its subject line. Of nearly all messages that is the same for everybody."""
        return self.subject

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "template" not in vars(cls):
            return  # a family of messages
        if not isinstance(getattr(cls, "message_class", None), MessageClass):
            raise TypeError(
                f"{cls.__name__} says not whether it is service, announcement, promotion or survey"
            )
        MESSAGES.append(cls)
