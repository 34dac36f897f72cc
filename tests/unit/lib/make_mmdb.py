"""Writes a small database in the MaxMind format: make_mmdb.py OUT NETWORK=JSON ..."""

import ipaddress
import json
import sys


def control(kind, n):
    first = 0 if kind > 7 else kind << 5
    extra = bytes([kind - 7]) if kind > 7 else b""
    assert n < 285
    return bytes([first | min(n, 29)]) + extra + (bytes([n - 29]) if n >= 29 else b"")


def encode(v):
    if isinstance(v, dict):
        return control(7, len(v)) + b"".join(encode(k) + encode(x) for k, x in v.items())
    if isinstance(v, list):
        return control(11, len(v)) + b"".join(encode(x) for x in v)
    if isinstance(v, str):
        return control(2, len(v.encode())) + v.encode()
    kind, v = (5, v[1]) if isinstance(v, tuple) else (9 if v >> 32 else 6, v)        # ("uint16", n)
    size = (v.bit_length() + 7) // 8
    return control(kind, size) + v.to_bytes(size, "big")


def main(out, rows):
    root, data = [None, None], b""
    for row in rows:
        net, value = row.split("=", 1)
        net = ipaddress.ip_network(net)
        # IPv4 lies at ::/96.
        bits = format(int(net.network_address), "032b").rjust(128, "0") if net.version == 4 else \
            format(int(net.network_address), "0128b")
        length = net.prefixlen + (96 if net.version == 4 else 0)
        at, node = len(data), root
        data += encode(json.loads(value))
        for bit in bits[:length - 1]:
            if not isinstance(node[int(bit)], list):
                node[int(bit)] = [None, None]
            node = node[int(bit)]
        node[int(bits[length - 1])] = at
    nodes, number = [], {}

    def walk(node):
        number[id(node)] = len(nodes)
        nodes.append(node)
        for kid in node:
            if isinstance(kid, list):
                walk(kid)

    walk(root)
    tree = b""
    for node in nodes:
        for kid in node:
            value = len(nodes) if kid is None else number[id(kid)] if isinstance(kid, list) else len(nodes) + 16 + kid
            tree += value.to_bytes(3, "big")
    meta = {"node_count": len(nodes), "record_size": ("uint16", 24), "ip_version": ("uint16", 6), "database_type": "Test",
            "languages": ["en"], "binary_format_major_version": ("uint16", 2), "binary_format_minor_version": ("uint16", 0),
            "build_epoch": 1 << 33, "description": {"en": "x"}}
    with open(out, "wb") as f:
        f.write(tree + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + encode(meta))


main(sys.argv[1], sys.argv[2:])
