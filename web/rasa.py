"""Rasa's Socket.IO channel, so that web-chat widgets made for it connect here as anonymous visitors.

    session_request {session_id}  ->  session_confirm "…"
    user_uttered {message}        ->  bot_uttered {text}

The session id is the visitor's token: a widget that keeps it is the same visitor the next time, in the same
conversation. Whoever comes with another one is given a new one.
"""

import uuid
from typing import Any

from flask import request
from flask_socketio import SocketIO

from chatbot.history import HistoryError
from web.conversations import DrainingError
from web.events import Answer, Events
from web.protocol import MessageSend, ProtocolError, SessionRequest, UserUttered


class RasaChannel:
    """Widgets are at home on the worker that they are connected to: it says the replies that were asked for there."""

    def __init__(self, socketio: SocketIO) -> None:
        self.socketio = socketio
        self._at: dict[str, str] = {}  # conversation_id -> sid of the widget
        self._conversations: dict[str, str] = {}  # sid -> conversation_id

    def register(self, events: Events) -> None:
        self.events = events
        events.on("session_request", SessionRequest, self._session)
        events.on("user_uttered", UserUttered, self._uttered)

    def emit(self, user_id: str, event: str, payload: dict[str, Any]) -> None:
        """To all of a user's connections, as the protocol says, and the end of a reply to a widget as well."""
        self.socketio.emit(event, payload, to=user_id)
        if event == "event" and payload["type"] == "reply.completed" and payload["conversation_id"] in self._at:
            self._say(payload["data"]["text"], self._at[payload["conversation_id"]])

    def _say(self, text: str, sid: str) -> None:
        self.socketio.emit("bot_uttered", {"text": text}, to=sid, ignore_queue=True)

    def _session(self, user_id: str, asked: SessionRequest) -> Answer:
        sid = request.sid  # type: ignore[attr-defined]
        known = self.events.service.history.user_of(asked.session_id) if asked.session_id else None
        if known:
            self.events.become(sid, known)
            latest, _ = self.events.service.history.page([known], 1)
            if latest:
                self._place(sid, latest[0].id)
        confirmed = asked.session_id if known else self.events.new_tokens.get(sid)
        self.socketio.emit("session_confirm", confirmed, to=sid, ignore_queue=True)
        return {}

    def _uttered(self, user_id: str, uttered: UserUttered) -> Answer:
        sid = request.sid  # type: ignore[attr-defined]
        try:
            if sid not in self._conversations:
                self._place(sid, self.events.service.create(user_id, None, self.events.settings.learn))
            said = {"client_msg_id": str(uuid.uuid4()), "text": uttered.message}
            return self.events.send(user_id, MessageSend(conversation_id=self._conversations[sid], **said))
        except (ProtocolError, HistoryError, DrainingError) as error:
            self._say(str(error), sid)  # a widget shows nothing else
            raise

    def _place(self, sid: str, conversation_id: str) -> None:
        gone = [one for one in list(self._conversations) if not self.socketio.server.manager.is_connected(one, "/")]
        for one in gone:
            if self._at.get(left := self._conversations.pop(one, "")) == one:
                del self._at[left]
        self._conversations[sid], self._at[conversation_id] = conversation_id, sid
