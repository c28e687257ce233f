"""A Watch stream with raw messages, for the tests of watch: nothing between the test and the wire."""
import queue
import threading
import time

import grpc

from pbtiny import field, message, parse

NOPUT, NODELETE = 0, 1
WAIT_SECONDS = 20


def create_request(key=b"", end=b"", start=0, progress=False, filters=(), prev=False, id=0, fragment=False):
    body = message(f1=key, f2=end, f3=start, f4=progress)
    for one in filters:
        body += field(5, one)
    return field(1, body + message(f6=prev, f7=id, f8=fragment))


def cancel_request(id):
    return field(2, message(f1=id))


def progress_request():
    return field(3, b"")


def signed(value):
    return value - (1 << 64) if value >= 1 << 63 else value


class Event:
    """One event; `raw` is what came over the wire."""

    def __init__(self, raw):
        self.raw = raw
        fields = dict(parse(raw))
        self.is_delete = fields.get(1, 0) == 1
        kv = dict(parse(fields.get(2, b"")))
        self.key, self.value = kv.get(1, b""), kv.get(5, b"")
        self.create, self.mod, self.version = kv.get(2, 0), kv.get(3, 0), kv.get(4, 0)
        self.prev = fields.get(3)

    def __repr__(self):
        return f"{'DELETE' if self.is_delete else 'PUT'} {self.key!r}@{self.mod}"


class Response:
    """A WatchResponse, taken apart. `raw` is as it came."""

    def __init__(self, raw):
        self.raw = raw
        fields = parse(raw)
        one = dict(fields)
        header = dict(parse(one.get(1, b"")))
        self.revision = header.get(3, 0)
        self.id = signed(one.get(2, 0))
        self.created, self.canceled = bool(one.get(3)), bool(one.get(4))
        self.compact_revision = one.get(5, 0)
        self.reason = one.get(6, b"").decode()
        self.fragment = bool(one.get(7))
        self.events = [Event(value) for number, value in fields if number == 11]

    def __repr__(self):
        return (f"<id {self.id} @{self.revision}{' created' * self.created}{' canceled' * self.canceled}"
                f"{f' compact {self.compact_revision}' if self.compact_revision else ''}"
                f"{f' {self.reason!r}' if self.reason else ''}{' fragment' * self.fragment} {self.events}>")


class Stream:
    """A Watch stream in a thread; responses are queued. `reading` False: nothing is taken from it."""

    def __init__(self, server, metadata=(), reading=True, options=()):
        self.channel = grpc.insecure_channel(
            server.url.replace("http://", ""),
            options=[("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)] + list(options))
        self._out = queue.Queue()
        self.responses = queue.Queue()
        self.error = None
        self.call = self.channel.stream_stream("/etcdserverpb.Watch/Watch")(iter(self._out.get, None),
                                                                           metadata=metadata)
        self._thread = threading.Thread(target=self._read, daemon=True)
        if reading:
            self._thread.start()

    def start_reading(self):
        self._thread.start()

    def _read(self):
        try:
            for raw in self.call:
                self.responses.put(Response(raw))
        except grpc.RpcError as error:
            self.error = error
        self.responses.put(None)

    def send(self, request):
        self._out.put(request)

    def half_close(self):
        self._out.put(None)

    def next(self, timeout=WAIT_SECONDS):
        """The next response; None when the stream has ended."""
        return self.responses.get(timeout=timeout)

    def create(self, **request):
        self.send(create_request(**request))
        return self.next()

    def events(self, count, timeout=WAIT_SECONDS):
        """At least `count` events, in the order they came, whatever watcher they are for."""
        out = []
        end = time.monotonic() + timeout
        while len(out) < count:
            response = self.responses.get(timeout=max(0.01, end - time.monotonic()))
            if response is None:
                raise AssertionError(f"the stream ended after {len(out)} events: {self.error}")
            out += response.events
        return out

    def silent(self, seconds=0.3):
        """Nothing comes for a while."""
        try:
            got = self.responses.get(timeout=seconds)
        except queue.Empty:
            return
        raise AssertionError(f"nothing was to come, and this did: {got}")

    def close(self):
        self.call.cancel()
        self.channel.close()
