#!/usr/bin/env python3
"""Sends benchmark commands to all benchmark nodes, as `dinomo trigger` does, over pyzmq.

    tools/trigger.py --bench 127.0.10.20 --threads 2 --manage 127.0.10.1 LOAD:200000:1006:2:1
    echo RUN:0.95:200000:1006:1:10:0.99:64 | tools/trigger.py --bench 127.0.10.20 --threads 2

Commands are arguments or lines of standard input; # begins a comment. Each goes to every thread of every benchmark node; ADD,
REMOVE and FAIL go to the management node. It sends and does not wait: each thread writes its
result into the benchmark node's log.
Exit status: 0 all were sent, 1 one could not be, 2 a line was no command.
"""

import argparse
import sys
import time
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Tuple

try:
    import zmq
except ImportError:
    sys.exit("this Python has no pyzmq: apt-get install python3-zmq and run /usr/bin/python3 tools/trigger.py, or pip install pyzmq")


class Plan(NamedTuple):
    command: int
    churn: int


PLANS = {"dinomo": Plan(8000, 8101), "anna": Plan(6900, 7001)}


def number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def positive(text: str) -> bool:
    return number(text) and int(text) > 0


def decimal(text: str) -> bool:
    whole, _, fraction = text.partition(".")
    return (whole + fraction).isdigit() and text.isascii()


def ratio(text: str) -> bool:
    return decimal(text) and float(text) <= 1


def seconds(text: str) -> bool:
    return decimal(text) and float(text) > 0


def flag(text: str) -> bool:
    return text in ("0", "1")


def letter(letters: str) -> Callable[[str], bool]:
    return lambda text: len(text) == 1 and text.upper() in letters


# word -> forms; a form is (its text, the checks of its fields, how many of the last may be left out).
Form = Tuple[str, List[Callable[[str], bool]], int]
FORMS: Dict[str, List[Form]] = {
    "LOAD": [
        ("LOAD:num_keys:value_length:total_threads_per_node:num_nodes", [positive, number, positive, positive], 0),
        ("LOAD:G|P|M:num_keys:value_length:report_period:seconds:zipf",
         [letter("GPM"), positive, number, seconds, seconds, decimal], 0),
    ],
    "WARM": [
        ("WARM:num_keys:value_length:num_requests:zipf", [positive, number, positive, decimal], 0),
        ("WARM:num_keys:value_length:total_threads", [positive, number, positive], 0),
    ],
    "CACHE": [("CACHE:num_keys", [positive], 0)],
    "WARM-RUN": [
        ("WARM-RUN:read_ratio:value_length:report_period:seconds:outstanding[:num_loaded_keys:is_update_only]",
         [ratio, number, seconds, seconds, positive, number, flag], 2),
    ],
    "RUN": [
        ("RUN:read_ratio:num_keys:value_length:report_period:seconds:zipf:outstanding[:is_update_only]",
         [ratio, positive, number, seconds, seconds, decimal, positive, flag], 1),
    ],
    "YCSB": [
        ("YCSB:A-F:num_keys:value_length:report_period:seconds:zipf:outstanding",
         [letter("ABCDEF"), positive, number, seconds, seconds, decimal, positive], 0),
    ],
    "ADD": [("ADD:num_bench_nodes", [positive], 0)],
    "REMOVE": [("REMOVE:num_bench_nodes", [positive], 0)],
    "FAIL": [("FAIL:num_kns", [positive], 0)],
}


def check(line: str) -> str:
    """Say what is wrong with a line; nothing when it is a command."""
    word, *fields = line.split(":")
    forms = FORMS.get(word)
    if forms is None:
        return f"unknown command {word!r}; want one of {', '.join(FORMS)}"
    for _, checks, optional in forms:
        fits = len(fields) in (len(checks), len(checks) - optional)
        if fits and all(ok(field) for ok, field in zip(checks, fields)):
            return ""
    return "want " + " or ".join(text for text, _, _ in forms)


class Trigger:
    def __init__(self, bench: List[str], threads: int, manage: str, plan: Plan) -> None:
        self.bench, self.threads, self.manage, self.plan = bench, threads, manage, plan
        self.context = zmq.Context()
        self.pushers: Dict[str, "zmq.Socket[bytes]"] = {}

    def push(self, ip: str, port: int, text: str) -> None:
        address = f"tcp://{ip}:{port}"
        if address not in self.pushers:
            self.pushers[address] = self.context.socket(zmq.PUSH)
            self.pushers[address].connect(address)
        self.pushers[address].send_string(text)

    def send(self, line: str) -> None:
        word, *fields = line.split(":")
        if word in ("ADD", "REMOVE", "FAIL") and not self.manage:
            raise ValueError(f"{word} needs --manage")
        if word == "ADD":
            self.push(self.manage, self.plan.churn, f"add:{fields[0]}:benchmark")
        elif word == "FAIL":
            self.push(self.manage, self.plan.churn, f"fail:{fields[0]}:memory")
        elif word == "REMOVE":
            count = int(fields[0])
            if count >= len(self.bench):
                raise ValueError(f"REMOVE:{count} would leave none of the {len(self.bench)} benchmark nodes given")
            for ip in self.bench[-count:]:
                self.push(self.manage, self.plan.churn, f"remove:{ip}:benchmark")
            del self.bench[-count:]
        else:
            for ip in self.bench:
                for thread in range(self.threads):
                    self.push(ip, self.plan.command + thread, line)

    def close(self, linger_seconds: float) -> bool:
        """Wait until all has been sent. False: something has not."""
        for socket in self.pushers.values():
            socket.close(linger=int(linger_seconds * 1000))
        before = time.monotonic()
        self.context.term()
        return time.monotonic() - before < linger_seconds


def commands(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        line = line.partition("#")[0].strip()
        if line:
            word, colon, rest = line.partition(":")
            yield word.upper() + colon + rest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default="127.0.0.1", help="IPs of the benchmark nodes, separated by commas")
    parser.add_argument("--threads", type=int, default=1, help="threads of each benchmark node")
    parser.add_argument("--manage", default="", help="IP of the management node")
    parser.add_argument("--plan", choices=PLANS, default="dinomo", help="port numbering plan")
    parser.add_argument("--linger", type=float, default=10.0, help="seconds to wait for nodes that are not up")
    parser.add_argument("commands", nargs="*", help="command lines; none: read standard input")
    args = parser.parse_args()
    trigger = Trigger(args.bench.split(","), args.threads, args.manage, PLANS[args.plan])
    status = 0
    for line in commands(args.commands or sys.stdin):
        wrong = check(line)
        if wrong:
            print(f"{line}: {wrong}", file=sys.stderr)
            status = 2
            continue
        try:
            trigger.send(line)
            print(f"{line} sent")
        except ValueError as e:
            print(f"{line}: {e}", file=sys.stderr)
            status = max(status, 1)
    if not trigger.close(args.linger):
        print("some nodes did not take their commands; are they running?", file=sys.stderr)
        status = max(status, 1)
    return status


if __name__ == "__main__":
    sys.exit(main())
