"""The application factory: wiring only."""

from collections.abc import Callable
from typing import cast

from flask import Flask
from flask_socketio import SocketIO
from werkzeug.middleware.proxy_fix import ProxyFix

from chatbot.history import open_history
from web.access import Access, ServedHosts, lets_in
from web.admin import admin_token
from web.config import Settings
from web.conversations import ConversationService, Engine
from web.events import Events
from web.logs import configure_logging, identify_requests
from web.metrics import MeasuredEngine, Metrics
from web.operator import Operator
from web.protocol import TextPacket
from web.rasa import RasaChannel
from web.rates import Rates
from web.routes import add_routes
from web.workers import WORKERS, Clients


def create_app(settings: Settings, engine: Engine, clients: Clients | None = None, worker: str = "") -> Flask:
    """The running service: tables up to date, the engine started, unanswered messages on their way.

    `clients` reaches those of other workers too, if there are any; `worker` is what they know this one by.
    `app.extensions` holds 'socketio' and 'conversations'; `drain` ends all of it.
    Raises DatabaseError, AdminTokenError, OSError.
    """
    configure_logging()
    app = Flask(__name__)
    identify_requests(app)
    metrics = Metrics()
    metrics.register(app, admin_token())
    clients = clients or Clients()
    socketio = SocketIO(
        app,
        async_mode="threading",
        client_manager=clients,
        async_handlers=False,  # a client's events are handled one after another, in its own connection's thread
        transports=["websocket"],  # so that any worker can take any connection
        cors_allowed_origins=_origins(settings),
        max_http_buffer_size=4 * settings.event_bytes,  # beyond it the connection is closed, below it an error is sent
        manage_session=False,
        serializer=TextPacket,
    )
    if settings.proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, settings.proxies, settings.proxies)  # type: ignore[method-assign]
    if settings.hosts:
        app.wsgi_app = ServedHosts(app.wsgi_app, settings.hosts)  # type: ignore[method-assign]
    rasa = RasaChannel(socketio)
    service = ConversationService(
        open_history(settings.database, worker=worker),
        MeasuredEngine(engine, metrics),
        rasa.emit,
        settings,
        lambda order, arguments: socketio.emit(order, arguments, to=WORKERS),
    )
    app.extensions["conversations"] = service
    rates = Rates(settings, lambda: service.engine.checkpoint.vocabulary)
    access = app.extensions["access"] = Access(service.history, settings, rates)
    events = app.extensions["events"] = Events(socketio, service, settings, access, rates, metrics)
    events.register()
    rasa.register(events)
    does = (service.stop_here, service.drop_here, service.repeat_here, events.dismiss_here)
    clients.orders = {order.__name__: order for order in does}
    _hear_from_the_start(socketio, clients)
    add_routes(app, service, settings, access, rates)
    access.start(events.keep_only)
    events.start()
    Operator(service, settings).register(app)
    service.start()
    return app


def _hear_from_the_start(socketio: SocketIO, clients: Clients) -> None:
    """python-socketio waits for a worker's first client: until then it would neither hear the other workers, who would
    wait for it, nor tell their clients of the replies that it takes over."""
    socketio.server.manager_initialized = True
    clients.initialize()


def _origins(settings: Settings) -> Callable[[str | None, dict[str, str]], bool] | None:
    """Which pages may connect, as Engine.IO asks it; None: the server's own."""
    listed = settings.origins
    if not listed:
        return None

    def may_connect(origin: str | None, environ: dict[str, str]) -> bool:
        is_secure = environ.get("wsgi.url_scheme") == "https"
        return bool(origin) and lets_in(str(origin), environ.get("HTTP_HOST", ""), listed, is_secure)

    return may_connect


def drain(app: Flask, seconds: float) -> None:
    """End well: tell every client, let running replies end within `seconds`, write them, close the connections."""
    socketio = cast(SocketIO, app.extensions["socketio"])
    service = cast(ConversationService, app.extensions["conversations"])
    service.draining = True
    cast(Access, app.extensions["access"]).close()
    cast(Events, app.extensions["events"]).close()
    socketio.emit("notice", {"type": "draining"}, ignore_queue=True)
    service.close(seconds)
    socketio.server.manager.flush(1)
    for connection in list(socketio.server.eio.sockets.values()):
        connection.close(wait=False, abort=True)  # as if the line had dropped: a client that was sent away stays away
    service.history.engine.dispose()
