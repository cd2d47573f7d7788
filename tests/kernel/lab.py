#!/usr/bin/env python3
"""Asks questions in real network namespaces, and tells what every device saw.

Reads one JSON document from standard input and writes one to standard output:

  in   {namespaces: {name: real name}, servers: [{ns, l4, port, reply}], asks: [{ns, proto, sport, dst, port, send, ttl, wait}], nodes: [name]}
  out  {asks: [{answer, packets: [[ns, device, "in"|"out", frame in hex]], received: [[ns, address, port, data]]}], conntrack: {node: lines}}

One thread: a socket belongs to the namespace in which it was made, so all of them can be driven from one loop. Standard library
only.
"""
import ctypes
import errno
import json
import mmap
import os
import select
import socket
import struct
import subprocess
import sys
import time

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
SOL_PACKET, PACKET_RX_RING, PACKET_VERSION, TPACKET_V2 = 263, 5, 10, 1
BLOCK, BLOCKS, FRAME = 65536, 16, 2048
FRAMES = BLOCK // FRAME * BLOCKS
ETH_P_ALL, PACKET_OUTGOING = 3, 4
TENTATIVE = 0x40
# A question is over when nothing was captured for so long.
QUIET = 0.05
READY = 10.0


def enter(fd):
    if LIBC.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Inside:
    """What is done in a namespace."""

    home = os.open("/proc/self/ns/net", os.O_RDONLY)

    def __init__(self, real):
        self.fd = os.open("/run/netns/" + real, os.O_RDONLY)

    def __enter__(self):
        enter(self.fd)

    def __exit__(self, *_):
        enter(self.home)


class Capture:
    """All devices of a namespace. A ring copies each packet at the tap; an ordinary socket would share it with whoever rewrites it."""

    def __init__(self, name, place):
        self.name = name
        with place:
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self.socket.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V2)
            self.socket.setsockopt(SOL_PACKET, PACKET_RX_RING, struct.pack("IIII", BLOCK, BLOCKS, FRAME, FRAMES))
            self.ring = mmap.mmap(self.socket.fileno(), BLOCK * BLOCKS, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            self.devices = dict(socket.if_nameindex())
        self.at = 0

    def drain(self, packets):
        before = len(packets)
        while True:
            offset = self.at * FRAME
            status, _, kept, mac, _, sec, nsec = struct.unpack_from("IIIHHII", self.ring, offset)
            if not status & 1:
                return len(packets) > before
            device, _, kind = struct.unpack_from("iHB", self.ring, offset + 32 + 4)
            frame = bytes(self.ring[offset + mac:offset + mac + kept])
            way = "out" if kind == PACKET_OUTGOING else "in"
            packets.append((sec * 10**9 + nsec, [self.name, self.devices.get(device, "if%d" % device), way, frame.hex()]))
            struct.pack_into("I", self.ring, offset, 0)
            self.at = (self.at + 1) % FRAMES


class Lab:
    def __init__(self, spec):
        self.spec = spec
        self.places = {name: Inside(real) for name, real in spec["namespaces"].items()}
        self.packets, self.received = [], []
        self.listeners, self.streams = {}, {}

    def settle(self):
        """Carriers travel by a work item of the kernel, and duplicate address detection takes two seconds: until both are done."""
        end = time.monotonic() + READY
        for name, real in self.spec["namespaces"].items():
            while time.monotonic() < end:
                links = json.loads(subprocess.run(["ip", "-n", real, "-j", "link"], check=True, capture_output=True).stdout)
                waiting = [l["ifname"] for l in links if "UP" in l["flags"] and l["operstate"] not in ("UP", "UNKNOWN")]
                with self.places[name]:
                    waiting += [line for line in open("/proc/net/if_inet6") if int(line.split()[4], 16) & TENTATIVE]
                if not waiting:
                    break
                time.sleep(0.05)
            else:
                sys.exit("%s is not ready: %s" % (name, waiting))

    def serve(self):
        for server in self.spec["servers"]:
            kind = socket.SOCK_STREAM if server["l4"] == "tcp" else socket.SOCK_DGRAM
            with self.places[server["ns"]]:
                one = socket.socket(socket.AF_INET6, kind)
            # As `::` does by default: both families.
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("::", server["port"]))
            one.setblocking(False)
            if server["l4"] == "tcp":
                one.listen(16)
            self.listeners[one] = server

    def turn(self, client, wait):
        """One turn of the loop: servers, captures; whether anything happened, and whether the client can go on."""
        captures = [capture.socket for capture in self.captures]
        reading = captures + list(self.listeners) + list(self.streams)
        reading += [client] if client else []
        can_read, can_write, _ = select.select(reading, [client] if self.connecting else [], [], max(0, min(wait, 0.02)))
        busy = False
        for capture in self.captures:
            busy |= capture.drain(self.packets)
        for one in can_read:
            if one in self.listeners:
                self.accept(one, self.listeners[one])
                busy = True
            elif one in self.streams:
                self.stream(one)
                busy = True
        return busy, client is not None and (client in can_read or client in can_write)

    def note(self, server, peer, data):
        address = peer[0].removeprefix("::ffff:")
        self.received.append([server["ns"], address, peer[1], data.decode(errors="replace")])

    def accept(self, one, server):
        if server["l4"] == "tcp":
            stream, peer = one.accept()
            stream.setblocking(False)
            self.streams[stream] = (server, peer)
            return
        try:
            data, peer = one.recvfrom(65536)
        except OSError:
            return
        self.note(server, peer, data)
        one.sendto(server["reply"].encode(), peer)

    def stream(self, one):
        server, peer = self.streams[one]
        try:
            data = one.recv(65536)
        except OSError:
            data = b""
        if data:
            self.note(server, peer, data)
            one.sendall(server["reply"].encode())
        else:
            del self.streams[one]
            one.close()

    def ask(self, ask):
        self.packets, self.received = [], []
        proto, end = ask["proto"], time.monotonic() + ask["wait"]
        family = socket.AF_INET6 if ":" in ask["dst"] else socket.AF_INET
        self.connecting = proto == "tcp"
        kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM, "ping": socket.SOCK_RAW}[proto]
        echo = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
        with self.places[ask["ns"]]:
            client = socket.socket(family, kind, echo if proto == "ping" else 0)
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if ask["ttl"] and family == socket.AF_INET6:
            client.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ask["ttl"])
        elif ask["ttl"]:
            client.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ask["ttl"])
        try:
            if proto == "ping":
                answer = self.ping(client, ask, end)
            else:
                client.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", ask["sport"]))
                answer = self.converse(client, ask, end)
        except OSError as error:
            answer = {"error": os.strerror(error.errno)}
        client.close()
        self.connecting = False
        quiet = time.monotonic() + QUIET
        while time.monotonic() < quiet:
            busy, _ = self.turn(None, quiet - time.monotonic())
            if busy:
                quiet = time.monotonic() + QUIET
        packets = [packet for _, packet in sorted(self.packets, key=lambda packet: packet[0])]
        return {"answer": answer, "packets": packets, "received": self.received}

    def converse(self, client, ask, end):
        send = ask["send"].encode()
        code = client.connect_ex((ask["dst"], ask["port"]))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, "connect")
        if not self.connecting:
            client.send(send)
        while time.monotonic() < end:
            _, can = self.turn(client, end - time.monotonic())
            if not can:
                continue
            if self.connecting:
                code = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    raise OSError(code, "connect")
                self.connecting = False
                client.send(send)
            else:
                return {"reply": client.recv(65536).decode(errors="replace")}
        return {"error": "timed out"}

    def ping(self, client, ask, end):
        v6 = ":" in ask["dst"]
        request, reply, header = (128, 129, 0) if v6 else (8, 0, 20)
        packet = struct.pack("!BBHHH", request, 0, 0, ask["sport"], 1) + bytes(56)
        if not v6:
            total = sum(struct.unpack("!%dH" % (len(packet) // 2), packet))
            while total >> 16:
                total = (total & 0xffff) + (total >> 16)
            packet = packet[:2] + struct.pack("!H", ~total & 0xffff) + packet[4:]
        client.sendto(packet, (ask["dst"], 0))
        while time.monotonic() < end:
            _, can = self.turn(client, end - time.monotonic())
            if can:
                data = client.recv(65536)[header:]
                if data[0] == reply and struct.unpack_from("!H", data, 4)[0] == ask["sport"]:
                    return {"reply": "pong"}
        return {"error": "timed out"}

    def conntrack(self, node):
        lines = []
        for family in ("ipv4", "ipv6"):
            with self.places[node]:
                shown = subprocess.run(["conntrack", "-L", "-f", family], check=True, capture_output=True, text=True).stdout
            lines += shown.splitlines()
        return lines

    def run(self):
        self.connecting = False
        self.settle()
        self.captures = [Capture(name, place) for name, place in self.places.items()]
        self.serve()
        asks = [self.ask(ask) for ask in self.spec["asks"]]
        return {"asks": asks, "conntrack": {node: self.conntrack(node) for node in self.spec["nodes"]}}


json.dump(Lab(json.load(sys.stdin)).run(), sys.stdout)
