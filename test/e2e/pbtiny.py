"""Just enough protobuf and gRPC to say anything to a server, valid or not, byte by byte."""
import grpc

TIMEOUT_SECONDS = 20


def varint(number):
    number &= (1 << 64) - 1
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number, value):
    """A varint for ints and bools, length-delimited for bytes and str. Zero and b"" are written."""
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, (bytes, bytearray)):
        return varint(number << 3 | 2) + varint(len(value)) + bytes(value)
    return varint(number << 3) + varint(int(value))


def message(**fields):
    """message(f1=b"key", f3=7): fields in order of their numbers, None and zero values left out."""
    out = b""
    for number, value in sorted((int(name[1:]), value) for name, value in fields.items()):
        for one in value if isinstance(value, list) else [value]:
            if one is None or (not isinstance(value, list) and one in (0, b"", "", False)):
                continue
            out += field(number, one)
    return out


def parse(data):
    """[(number, value)] in order; value is an int or bytes. Raises ValueError when malformed."""
    out, at = [], 0

    def number_at(at):
        value = shift = 0
        while True:
            if at >= len(data):
                raise ValueError("cut short")
            byte = data[at]
            value |= (byte & 0x7F) << shift
            at += 1
            shift += 7
            if byte < 0x80:
                return value, at

    while at < len(data):
        tag, at = number_at(at)
        if tag & 7 == 0:
            value, at = number_at(at)
        elif tag & 7 == 2:
            size, at = number_at(at)
            if at + size > len(data):
                raise ValueError("cut short")
            value, at = data[at:at + size], at + size
        else:
            raise ValueError(f"wire type {tag & 7}")
        out.append((tag >> 3, value))
    return out


class Client:
    """Unary calls with raw bytes."""

    def __init__(self, server):
        self.channel = grpc.insecure_channel(server.url.replace("http://", ""),
                                             options=[("grpc.max_receive_message_length", -1)])

    def call(self, path, request=b"", metadata=(), timeout=TIMEOUT_SECONDS):
        """(code name, details, reply bytes or None)"""
        stub = self.channel.unary_unary(path)
        try:
            return "OK", "", stub(request, timeout=timeout, metadata=metadata)
        except grpc.RpcError as error:
            return error.code().name, error.details(), None

    def kv(self, method, request):
        return self.call(f"/etcdserverpb.KV/{method}", request)

    def maintenance(self, method, request=b""):
        return self.call(f"/etcdserverpb.Maintenance/{method}", request)

    def close(self):
        self.channel.close()


def without_identity(reply):
    """A reply whose header keeps only its revision: what two different clusters must agree on."""
    out = b""
    for number, value in parse(reply):
        if number == 1:
            value = b"".join(field(n, v) for n, v in parse(value) if n == 3)
        out += field(number, value)
    return out


# Requests, by their field numbers in rpc.proto.

def range_request(key=b"", end=b"", limit=0, rev=0, order=0, target=0, serializable=False, keys_only=False,
                  count_only=False, min_mod=0, max_mod=0, min_create=0, max_create=0):
    return message(f1=key, f2=end, f3=limit, f4=rev, f5=order, f6=target, f7=serializable, f8=keys_only,
                   f9=count_only, f10=min_mod, f11=max_mod, f12=min_create, f13=max_create)


def put_request(key=b"", value=b"", lease=0, prev=False, ignore_value=False, ignore_lease=False):
    return message(f1=key, f2=value, f3=lease, f4=prev, f5=ignore_value, f6=ignore_lease)


def delete_request(key=b"", end=b"", prev=False):
    return message(f1=key, f2=end, f3=prev)


TARGET_FIELDS = {0: 4, 1: 5, 2: 6, 3: 7, 4: 8}  # version, create, mod, value, lease


def compare(result, target, key, operand, end=b""):
    out = message(f1=result, f2=target, f3=key)
    out += field(TARGET_FIELDS[target], operand)
    return out + (field(64, end) if end else b"")


def op(**kind):
    """op(range=…), op(put=…), op(delete=…), op(txn=…): a RequestOp around encoded requests."""
    ((name, request),) = kind.items()
    return field({"range": 1, "put": 2, "delete": 3, "txn": 4}[name], request)


def txn_request(compares=(), success=(), failure=()):
    return (b"".join(field(1, c) for c in compares) + b"".join(field(2, o) for o in success)
            + b"".join(field(3, o) for o in failure))
