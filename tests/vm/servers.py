#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
In a VM: teramem.ko and servers that lie. Each lie breaks the connection, is
named in one line of the kernel's log, and is forgotten once an honest server is
there: no byte is wrong. One that lies on is given up; then accesses end in
SIGBUS. This is the agent; program and servers are processes of their own.
"""
import fcntl
import mmap
import os
import select
import signal
import socket
import struct
import sys
import time
from errno import EIO, EPROTO

CONTROL, FOLDER, NAME = "/dev/teramem-control", "/dev/teramem/", "liars"
BLOCK, EXTENT, LOCAL = 64 << 10, 4 << 20, 16
BLOCKS = 32
PATIENCE_S = 60
LOG_PAUSE_S = 1.5  # the kernel's log takes ten lines of a kind in five seconds
RESERVE, RELEASE, READ, WRITE, DISCARD, PING, BYE = 5, 6, 7, 8, 9, 10, 12
BROKEN, LOST = 1, 2
HEADER = struct.Struct("<IBBHQIIQQ24s")  # magic type flags status id epoch ...
SPACE = struct.Struct("<12I3Q32s32x")
ATTACH = struct.Struct("<iIIIQII16x")
REGION = struct.Struct("<QII")


def ioc(direction, nr, size):
    return direction << 30 | size << 16 | 0xB7 << 8 | nr


IOC_CREATE, IOC_ATTACH = ioc(1, 0, SPACE.size), ioc(1, 1, ATTACH.size)
IOC_REGION, IOC_COMMIT = ioc(3, 0x20, REGION.size), ioc(1, 0x22, 8)

count = failed = 0


def check(ok, name):
    global count, failed
    count += 1
    failed += not ok
    print("ok" if ok else "not ok", count, "-", name, flush=True)
    return ok


def header(h, type=None, status=0, id=None, epoch=None, length=0, addr=0,
           argument=0, magic=None, reserved=b""):
    """The reply to h, or something that looks like it."""
    return HEADER.pack(h[0] if magic is None else magic,
                       h[1] | 0x80 if type is None else type, 0, status,
                       h[4] if id is None else id,
                       h[5] if epoch is None else epoch,
                       length, addr, argument, reserved)


def receive(sock, size):
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            os._exit(0)
        data += part
    return data


def serve(sock, store, lie):
    """store's first bytes count the extents given out, then the memory."""
    while True:
        h = HEADER.unpack(receive(sock, HEADER.size))
        kind, length, addr, argument = h[1], h[6], h[7], h[8]
        body = receive(sock, length)
        answer = lie(h) if lie else None
        if answer is not None:
            sock.sendall(answer)
        elif kind == RESERVE:
            nr = store[0]
            store[0] = nr + 1
            sock.sendall(header(h, addr=EXTENT * (nr + 1), argument=EXTENT))
        elif kind == READ:
            sock.sendall(header(h, length=argument) +
                         store[addr:addr + argument])
        elif kind == BYE:
            os._exit(0)
        else:
            if kind == WRITE:
                store[addr:addr + length] = body
            sock.sendall(header(h))


def fork(run, *args):
    pid = os.fork()
    if not pid:
        try:
            run(*args)
        finally:
            os._exit(1)
    return pid


def pattern(block):
    return bytes((block * 7 + i) & 0xff for i in range(1, 17)) * (BLOCK // 16)


def program(requests, results):
    """Fills its memory, then checks it whenever it is asked to."""
    fd = os.open(FOLDER + NAME, os.O_RDWR)
    fcntl.ioctl(fd, IOC_REGION, REGION.pack(BLOCK * BLOCKS, 0, 0))
    fcntl.ioctl(fd, IOC_COMMIT, struct.pack("<Q", BLOCK * BLOCKS))
    memory = mmap.mmap(fd, BLOCK * BLOCKS)
    for block in range(BLOCKS):
        memory[block * BLOCK:(block + 1) * BLOCK] = pattern(block)
    os.write(results, b"f")
    while os.read(requests, 1) == b"c":
        wrong = sum(memory[b * BLOCK:(b + 1) * BLOCK] != pattern(b)
                    for b in range(BLOCKS))
        os.write(results, b"w" if wrong else b"r")
    os._exit(0)


def space_settings(name):
    return SPACE.pack(1, 0, 0, 0, 0, BLOCK, 1 << 20, 0, 20000, 60000, 1, 1, 1,
                      BLOCK * BLOCKS, BLOCK * LOCAL, name.encode())


class Space:
    """With one server, one lane, and a program on it."""

    def __init__(self):
        self.store = mmap.mmap(-1, 16 << 20)
        self.epoch = 0
        self.server = None
        self.fd = os.open(CONTROL, os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.fd, IOC_CREATE, space_settings(NAME))
        self.connect()
        self.requests, self.answers = os.pipe(), os.pipe()
        self.program = fork(self.run_program)
        os.close(self.requests[0])
        os.close(self.answers[1])

    def run_program(self):
        os.close(self.requests[1])
        os.close(self.fd)
        program(self.requests[0], self.answers[1])

    def connect(self, lie=None):
        """A new connection, to a server that lies or does not."""
        self.disconnect()
        ours, theirs = socket.socketpair()
        self.server = fork(self.run_server, ours, theirs, lie)
        theirs.close()
        self.epoch += 1
        fcntl.ioctl(self.fd, IOC_ATTACH, ATTACH.pack(
            ours.fileno(), 0, 0, self.epoch, EXTENT, 8 << 20, 10000))
        ours.close()

    def run_server(self, ours, theirs, lie):
        ours.close()
        os.close(self.fd)
        serve(theirs, self.store, lie)

    def disconnect(self):
        if self.server:
            os.kill(self.server, signal.SIGKILL)
            os.waitpid(self.server, 0)
        self.server = None

    def event(self):
        """The next one: its kind and errno."""
        if not select.select([self.fd], [], [], PATIENCE_S)[0]:
            return None, None
        kind, _, _, err = struct.unpack("<4I", os.read(self.fd, 16))
        return kind, err

    def ask(self):
        os.write(self.requests[1], b"c")

    def answer(self):
        if not select.select([self.answers[0]], [], [], PATIENCE_S)[0]:
            return b"?"
        return os.read(self.answers[0], 1)

    def end(self):
        try:
            os.write(self.requests[1], b"e")
        except BrokenPipeError:
            pass  # it has ended
        os.close(self.requests[1])
        status = os.waitpid(self.program, 0)[1]
        os.close(self.answers[0])
        os.close(self.fd)
        self.disconnect()
        return status


def log_lines(log, text):
    """How many new lines of the kernel's log have it."""
    found = 0
    try:
        while True:
            found += text in os.read(log, 8192).decode(errors="replace")
    except BlockingIOError:
        return found


def reading(answer):
    return lambda h: answer(h) if h[1] == READ else None


LIES = {
    "another magic": ("not a Teramem message",
                      reading(lambda h: header(h, magic=1))),
    "another request's id": ("a reply to no request", reading(
        lambda h: header(h, id=h[4] + 1, length=h[8]) + b"x" * h[8])),
    "another type": ("another type", reading(
        lambda h: header(h, type=WRITE | 0x80))),
    "less than was asked for": ("another length", reading(
        lambda h: header(h, length=4096) + b"x" * 4096)),
    "more than was asked for": ("another length", reading(
        lambda h: header(h, length=h[8] + 4096) + b"x" * (h[8] + 4096))),
    "4 GiB": ("out of bounds", reading(
        lambda h: header(h, length=0xffffffff))),
    "another epoch": ("another epoch", reading(
        lambda h: header(h, epoch=h[5] + 1, length=h[8]) + b"x" * h[8])),
    "reserved bytes": ("reserved bytes", reading(
        lambda h: header(h, reserved=b"\1" * 24, length=h[8]) + b"x" * h[8])),
    "a refusal with payload": ("payload in a refusal", reading(
        lambda h: header(h, status=9, length=h[8]) + b"x" * h[8])),
    "a status that does not exist": ("unknown status", reading(
        lambda h: header(h, status=77))),
    "a request": ("a request from the server", reading(
        lambda h: header(h, type=READ, argument=4096))),
}


def start():
    space = Space()
    check(space.answer() == b"f", "a program fills its memory")
    return space


def lied(space, log, name, kind=BROKEN):
    """A liar takes over, and the program reads: what the agent is told."""
    text, lie = LIES[name]
    time.sleep(LOG_PAUSE_S)
    space.disconnect()
    check(space.event()[0] == BROKEN, f"{name}: the server before is gone")
    log_lines(log, "")
    space.connect(lie)
    space.ask()
    check(space.event() == (kind, EPROTO), "... the connection breaks")
    check(log_lines(log, text) == 1, "... one line of the log says why")


def main():
    log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    for index, name in enumerate(LIES):
        # The third lie in its life is one too many for a connection.
        if index % 2 == 0:
            if index:
                check(space.end() == 0, "the program ends")
            space = start()
        lied(space, log, name)
        space.connect()
        check(space.answer() == b"r", "... an honest one: no byte is wrong")

    first, second = list(LIES)[:2]
    lied(space, log, first)
    space.connect()
    check(space.answer() == b"r", "... no byte is wrong")
    lied(space, log, second, LOST)
    try:
        space.connect()
        check(False, "... and the server is given up")
    except OSError as e:
        check(e.errno == EIO, "... and the server is given up")
    space.answer()
    status = space.end()
    check(os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGBUS,
          "... and the program ends in SIGBUS")
    print(f"1..{count}")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
