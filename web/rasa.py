"""Rasa's Socket.IO channel, so that web-chat widgets made for it connect here as anonymous visitors.

    session_request {session_id}  ->  session_confirm "…"
    user_uttered {message}        ->  bot_uttered {text}

The session id is the visitor's token: a widget that keeps it is the same visitor the next time, in the same
conversation. Whoever comes with another one is given a new one. A connection has one session.
"""

import re
import threading
import uuid
from collections import deque
from typing import Any

from flask import request
from flask_socketio import SocketIO

from chatbot.history import BusyError, HistoryError
from web.conversations import DrainingError
from web.events import Answer, Events
from web.protocol import MessageSend, ProtocolError, SessionRequest, UserUttered

MOST_WAITING = 5  # messages of a widget that wait for the reply before
_PAYLOAD = re.compile(r"/[\w./+-]+(?:\{.*\})?", re.DOTALL)  # sent by a widget's button, and not meant as speech


class RasaChannel:
    """Widgets are at home on the worker that they are connected to: it says the replies that were asked for there."""

    def __init__(self, socketio: SocketIO) -> None:
        self.socketio = socketio
        self._at: dict[str, str] = {}  # conversation_id -> sid of the widget
        self._conversations: dict[str, str] = {}  # sid -> conversation_id
        self._sessions: dict[str, str] = {}  # sid -> the session id that was confirmed
        self._waiting: dict[str, deque[tuple[str, str]]] = {}  # conversation_id -> user_id and text of each message
        self._sending = threading.Lock()

    def register(self, events: Events) -> None:
        self.events = events
        events.on("session_request", SessionRequest, self._session)
        events.on("user_uttered", UserUttered, self._uttered)

    def emit(self, user_id: str, event: str, payload: dict[str, Any]) -> None:
        """To all of a user's connections, as the protocol says, and the end of a reply to a widget as well."""
        self.socketio.emit(event, payload, to=user_id)
        if event == "event" and payload["type"] == "reply.completed" and payload["conversation_id"] in self._at:
            self._say(payload["data"]["text"], self._at[payload["conversation_id"]])
            self.socketio.start_background_task(self._send_waiting, payload["conversation_id"])

    def _say(self, text: str, sid: str) -> None:
        self.socketio.emit("bot_uttered", {"text": text}, to=sid, ignore_queue=True)

    def _session(self, user_id: str, asked: SessionRequest) -> Answer:
        sid = request.sid  # type: ignore[attr-defined]
        if sid not in self._sessions:
            self._forget_gone()
            self._sessions[sid] = self._confirmed(sid, asked.session_id)
        self.socketio.emit("session_confirm", self._sessions[sid] or None, to=sid, ignore_queue=True)
        return {}

    def _confirmed(self, sid: str, session_id: str | None) -> str:
        """The session id asked for where it is a user's token, who may come in; or else the connection's own."""
        try:
            user_id = self.events.become(sid, session_id or "")
        except ProtocolError:
            return self.events.new_tokens.get(sid, "")
        latest, _ = self.events.service.history.page([user_id], 1)
        if latest:
            self._place(sid, latest[0].id)
        return session_id or ""

    def _uttered(self, user_id: str, uttered: UserUttered) -> Answer:
        sid = request.sid  # type: ignore[attr-defined]
        if _PAYLOAD.fullmatch(uttered.message.strip()):
            return {}
        try:
            if sid not in self._conversations:
                self._forget_gone()
                self.events.rates.change(user_id)
                self._place(sid, self.events.service.create(user_id, None, self.events.settings.learn))
            return self._send(user_id, self._conversations[sid], uttered.message)
        except (ProtocolError, HistoryError, DrainingError) as error:
            self._say(str(error), sid)  # a widget shows nothing else
            raise

    def _send(self, user_id: str, conversation_id: str, text: str) -> Answer:
        """Send a message, after those that wait; it waits itself while the reply before is being written."""
        with self._sending:
            waiting = self._waiting.setdefault(conversation_id, deque())
            if not waiting:
                try:
                    return self._send_now(user_id, conversation_id, text)
                except BusyError:
                    pass
            if len(waiting) == MOST_WAITING:
                raise ProtocolError("rate_limited", "That was too much at once; wait for the replies.", 1_000)
            waiting.append((user_id, text))
            return {}

    def _send_now(self, user_id: str, conversation_id: str, text: str) -> Answer:
        said = MessageSend(conversation_id=conversation_id, client_msg_id=str(uuid.uuid4()), text=text)
        return self.events.send(user_id, said)

    def _send_waiting(self, conversation_id: str) -> None:
        """Send the next message that waits, now that a reply has ended."""
        with self._sending:
            waiting = self._waiting.get(conversation_id)
            while waiting:
                user_id, text = waiting[0]
                try:
                    self._send_now(user_id, conversation_id, text)
                except BusyError:
                    return
                except (ProtocolError, HistoryError, DrainingError) as error:
                    self._say(str(error), self._at.get(conversation_id, ""))
                waiting.popleft()

    def _place(self, sid: str, conversation_id: str) -> None:
        self._conversations[sid], self._at[conversation_id] = conversation_id, sid

    def _forget_gone(self) -> None:
        """Forget the widgets that are no longer connected."""
        is_here = self.socketio.server.manager.is_connected
        for sid in {*self._sessions, *self._conversations}:
            if not is_here(sid, "/"):
                self._sessions.pop(sid, None)
                left = self._conversations.pop(sid, "")
                if self._at.get(left) == sid:
                    del self._at[left]
                    self._waiting.pop(left, None)
