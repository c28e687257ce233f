"""HTTP/2 said byte by byte: what no well-behaved library would send, and what comes back for it.

Frames are built here and nothing is checked; answers are cut into frames, and header blocks are
decoded with python3-hpack where there is one (`Peer.fields`)."""
import socket
import struct
import time

try:
    import hpack
except ImportError:
    hpack = None

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SECONDS = 30

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 1
END_HEADERS = 4
PADDED = 8
WITH_PRIORITY = 32

CODES = ("NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
         "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
         "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED")


def u32(number):
    return struct.pack(">I", number)


def frame(kind, flags, stream, payload=b""):
    return u32(len(payload))[1:] + bytes([kind, flags]) + u32(stream) + payload


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", name, value) for name, value in pairs))


def window_update(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, u32(increment))


def reset(stream, code=8):
    return frame(RST_STREAM, 0, stream, u32(code))


def integer(number, prefix, first=0):
    """RFC 7541 section 5.1; `first` holds the bits in front of the prefix."""
    most = (1 << prefix) - 1
    if number < most:
        return bytes([first | number])
    out = bytes([first | most])
    number -= most
    while number >= 128:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def text(data):
    """A string without Huffman coding."""
    return integer(len(data), 7) + data


def literal(name, value):
    """A field that is not indexed."""
    return b"\0" + text(name) + text(value)


def indexing(name, value):
    """A field that enters the dynamic table."""
    return b"\x40" + text(name) + text(value)


def code_name(code):
    return CODES[code] if code < len(CODES) else str(code)


class Peer:
    """One connection. Everything that comes is kept in `frames`: (kind, flags, stream, payload)."""

    def __init__(self, port, start=PREFACE + settings()):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.frames = []
        self.rest = b""
        self.is_closed = False
        self.end = time.monotonic() + SECONDS
        self.decoder = hpack.Decoder() if hpack else None
        self.blocks = {}  # stream: [[(name, value)]]
        self.send(start)

    def close(self):
        self.sock.close()

    def send(self, data):
        self.end = time.monotonic() + SECONDS
        try:
            self.sock.settimeout(SECONDS)
            self.sock.sendall(data)
        except OSError:
            pass  # what the server has said before it hung up is still to be read

    def poll(self):
        """Reads once; False when the server is silent for too long."""
        left = self.end - time.monotonic()
        if left <= 0:
            return False
        self.sock.settimeout(left)
        try:
            part = self.sock.recv(1 << 18)
        except socket.timeout:
            return False
        except OSError:
            part = b""
        self.is_closed = part == b""
        self.rest += part
        while len(self.rest) >= 9:
            size = int.from_bytes(self.rest[:3], "big")
            if len(self.rest) < 9 + size:
                break
            kind, flags, stream = struct.unpack(">BBI", self.rest[3:9])
            self.take(kind, flags, stream, self.rest[9:9 + size])
            self.rest = self.rest[9 + size:]
        return True

    def take(self, kind, flags, stream, payload):
        self.frames.append((kind, flags, stream, payload))
        if kind == HEADERS and self.decoder:
            block = [(n if isinstance(n, str) else n.decode(), v if isinstance(v, str) else v.decode())
                     for n, v in self.decoder.decode(payload)]
            self.blocks.setdefault(stream, []).append(block)

    def until(self, found):
        """Reads until found(frame) for one of them, or the end; returns that frame or None."""
        seen = 0
        while True:
            for one in self.frames[seen:]:
                if found(one):
                    return one
            seen = len(self.frames)
            if self.is_closed or not self.poll():
                return None

    def goaway(self):
        """(name of the code, debug text) of the GOAWAY and the end of the connection, or None."""
        while not self.is_closed and self.poll():
            pass
        if not self.is_closed:
            return None
        for kind, _, _, payload in self.frames:
            if kind == GOAWAY:
                return code_name(int.from_bytes(payload[4:8], "big")), payload[8:]
        return "", b""

    def reset_of(self, stream):
        """The name of the code of its RST_STREAM, or None when the stream ended or there is none."""
        one = self.until(lambda f: (f[0] == RST_STREAM and f[2] == stream) or f[0] == GOAWAY or
                         (f[2] == stream and f[0] in (DATA, HEADERS) and f[1] & END_STREAM))
        return code_name(int.from_bytes(one[3], "big")) if one and one[0] == RST_STREAM else None

    def ended(self, stream):
        """Whether END_STREAM comes for it, rather than a reset or a GOAWAY."""
        one = self.until(lambda f: (f[2] == stream and (f[0] == RST_STREAM or (f[0] in (DATA, HEADERS) and f[1] & 1))) or
                         f[0] == GOAWAY)
        return one is not None and one[0] in (DATA, HEADERS)

    def fields(self, stream):
        """All header fields of a stream's answer, trailers included."""
        return dict(field for block in self.blocks.get(stream, []) for field in block)

    def body(self, stream):
        return b"".join(payload for kind, _, of, payload in self.frames if kind == DATA and of == stream)

    def says(self, kind, stream=None):
        return [f for f in self.frames if f[0] == kind and stream in (None, f[2])]
