# SPDX-License-Identifier: Apache-2.0
"""redis-py against the RESP door, with what LMCache's redis:// connector sends.

redis_py.py [HOST PORT]; ends with 0, with 77 and a reason when redis-py is not
there, or with a traceback. Without a server it only looks for redis-py.
"""
import struct
import sys
import threading

try:
    import redis
except ImportError:
    print("redis-py is not installed (python3-redis)")
    sys.exit(77)

if len(sys.argv) < 3:
    sys.exit(0)
HOST, PORT = sys.argv[1], int(sys.argv[2])
CONNECTIONS = 150
MIB = 1 << 20


def chunk_key(number, layer=None):
    key = f"meta-llama/Llama-3.1-8B@2@1@{number:064x}@torch.bfloat16@tag%value"
    return key if layer is None else f"{key}@{layer}"


def payload(number, size):
    pattern = bytes((number * 31 + i * 7) % 256 for i in range(1021))
    return (pattern * (size // 1021 + 1))[:size]


def put(r, key, body):
    metadata = struct.pack("=7i", len(body), 1, 2, 3, 4, 5, 6)
    assert len(metadata) == 28
    assert r.set(key + "kv_bytes", body) is True
    assert r.set(key + "metadata", metadata) is True


def get(r, key):
    metadata = r.get(key + "metadata")
    if metadata is None:
        return None
    assert len(metadata) == 28
    body = r.get(key + "kv_bytes")
    if body is None:
        r.delete(key + "metadata")
        return None
    assert len(body) == struct.unpack("=7i", metadata)[0]
    return body


def sequence(r):
    """A chunk's life as the connector has it."""
    key = chunk_key(1)
    assert get(r, key) is None
    assert r.exists(key + "metadata") == 0
    put(r, key, payload(1, 4 * MIB))
    assert r.exists(key + "metadata") == 1
    assert get(r, key) == payload(1, 4 * MIB)
    put(r, key, payload(2, 3 * MIB))
    assert get(r, key) == payload(2, 3 * MIB)
    # the body went, the metadata stayed: the client drops that
    r.delete(key + "kv_bytes")
    assert get(r, key) is None
    assert r.exists(key + "metadata") == 0
    assert r.delete(key + "metadata") == 0
    for layer in range(4):
        put(r, chunk_key(2, layer), payload(layer, 70000))
    for layer in range(4):
        assert get(r, chunk_key(2, layer)) == payload(layer, 70000)


def sizes(r):
    """Binary values of any size, to 64 MiB."""
    for size in (0, 1, 27, 28, 29, 63, 64, 65, 511, 512, 513, 4095, 4096, 4097,
                 16383, 16384, 65535, 65536, 65537, MIB - 1, MIB, MIB + 1,
                 4 * MIB, 16 * MIB, 64 * MIB):
        key = f"size:{size}"
        body = payload(size, size)
        assert r.set(key, body) is True, size
        assert r.strlen(key) == size, size
        assert r.get(key) == body, size
        assert r.delete(key) == 1, size
        assert r.get(key) is None, size


def pool():
    """As many connections as the connector may open, each with its own keys."""
    r = redis.Redis(connection_pool=redis.BlockingConnectionPool(
        host=HOST, port=PORT, max_connections=CONNECTIONS, timeout=60))
    meet = threading.Barrier(CONNECTIONS)
    wrong = []

    def work(number):
        try:
            c = r.connection_pool.get_connection("PING")
            c.send_command("PING")
            assert c.read_response() in (b"PONG", "PONG")
            meet.wait(60)  # all of them are open now
            r.connection_pool.release(c)
            for turn in range(4):
                key = chunk_key(1000 + number * 4 + turn)
                put(r, key, payload(number, 20000 + number))
                assert get(r, key) == payload(number, 20000 + number)
                assert r.exists(key + "metadata") == 1
        except BaseException as e:  # told by the main thread
            wrong.append((number, repr(e)))
            meet.abort()

    threads = [threading.Thread(target=work, args=(i,))
               for i in range(CONNECTIONS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong, wrong[:3]
    assert r.dbsize() >= 2 * 4 * CONNECTIONS
    r.close()


def commands(r):
    """The rest of what redis-py wraps and the door has."""
    assert r.ping() is True
    assert r.echo("hello") == b"hello"
    assert r.mset({"m1": "a", "m2": b"\x00\xff", "m3": ""}) is True
    assert r.mget("m1", "none", "m2", "m3") == [b"a", None, b"\x00\xff", b""]
    assert r.set("m1", "b", nx=True) is None
    assert r.set("m4", "b", nx=True, ex=100) is True
    assert 0 < r.ttl("m4") <= 100
    assert 0 < r.pttl("m4") <= 100000
    assert r.expire("m1", 1000) is True
    assert r.expire("none", 1000) is False
    assert r.ttl("none") == -2 and r.ttl("m2") == -1
    found = set(r.scan_iter(match="m?", count=7))
    assert found == {b"m1", b"m2", b"m3", b"m4"}, found
    assert r.unlink("m1", "m2", "none") == 2
    assert "redis_version" in r.info()
    assert r.client_id() > 0
    assert isinstance(r.config_get("save"), dict)
    with r.pipeline(transaction=False) as p:
        for i in range(500):
            p.set(f"p:{i}", str(i))
        for i in range(500):
            p.get(f"p:{i}")
        answers = p.execute()
    assert answers[:500] == [True] * 500
    assert answers[500:] == [str(i).encode() for i in range(500)]
    try:
        r.execute_command("NOSUCHCOMMAND", "a")
        raise AssertionError("an unknown command was answered")
    except redis.ResponseError as e:
        assert str(e).lower().startswith("unknown command"), e
    assert r.ping() is True


def main():
    r = redis.Redis(host=HOST, port=PORT, socket_timeout=60)
    commands(r)
    sequence(r)
    sizes(r)
    pool()
    assert r.flushdb() is True
    assert r.dbsize() == 0


main()
