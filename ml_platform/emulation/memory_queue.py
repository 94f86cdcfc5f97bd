"""A queue in memory that behaves like Azure's: what is received and not deleted comes again.

Belongs here: messages for tests that need no server, and faults of a queue. Does not belong here: reading messages (storage_events).
"""

from collections import deque
from dataclasses import dataclass, field, replace

from ml_platform.storage_events.queue import Message


@dataclass
class MemoryQueue:
    """Messages in the order of `send`; `hand_back` makes those visible again that were received and not deleted."""

    visible: deque[Message] = field(default_factory=deque)
    hidden: dict[str, Message] = field(default_factory=dict)
    sent: int = 0

    def send(self, text: str) -> None:
        self.sent += 1
        self.visible.append(Message(f"m{self.sent}", text, 0))

    def receive(self, count: int) -> list[Message]:
        found = [self.visible.popleft() for _ in range(min(count, len(self.visible)))]
        received = [replace(one, dequeue_count=one.dequeue_count + 1, handle=f"r{one.dequeue_count}") for one in found]
        self.hidden |= {one.message_id: one for one in received}
        return received

    def delete(self, message: Message) -> None:
        if self.hidden.get(message.message_id, message).handle == message.handle:
            self.hidden.pop(message.message_id, None)

    def hand_back(self) -> None:
        """The time is over for which received messages are hidden."""
        self.visible.extend(self.hidden.values())
        self.hidden.clear()

    def __len__(self) -> int:
        return len(self.visible) + len(self.hidden)
