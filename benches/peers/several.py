#!/usr/bin/env python3
"""One and two reactors beside tokio's multi-thread runtime and nginx with two workers, and how evenly the kernel
spreads connections. About four minutes:

    cargo build --profile bench-peers -p slabloop-peers --bin slabloop_threads --bin tokio_threads --bin load --bin spread
    benches/peers/several.py            # --rounds 1 takes a third of the time

Servers take turns in each round, and the figures are medians of the rounds. Nothing is pinned: with two threads a server
uses all processors of a machine with two, and the client takes its share of them. So throughput depends on the client as
well, and the CPU time is that of all threads and processes of a server. Without wrk or nginx their rows are left out.
"""

import argparse
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BIN = os.path.join(ROOT, "target", "bench-peers")
NGINX = """daemon off; worker_processes {threads}; pid {folder}/pid; error_log /dev/null crit;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 1000000000; default_type text/plain;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port} reuseport; location / {{ return 200 "hello world\\n"; }} }} }}
"""


def family(pid):
    """A process and its children."""
    found = [pid]
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as file:
            for child in file.read().split():
                found += family(int(child))
    return found


def cpu_ns(pid):
    """What all threads of a server have run, by the scheduler's count."""
    total = 0
    for process in family(pid):
        for task in os.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{task}/schedstat") as file:
                total += int(file.read().split()[0])
    return total


class Server:
    def __init__(self, name, threads, job):
        self.name, self.threads, self.job = name, threads, job

    def title(self):
        unit = {"slabloop": "reactor", "tokio": "thread", "nginx": "worker"}[self.name]
        return f"{self.name}, {self.threads} {unit}{'s' if self.threads > 1 else ''}"

    def __enter__(self):
        self.folder = None
        if self.name == "nginx":
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            self.folder = tempfile.mkdtemp()
            path = os.path.join(self.folder, "nginx.conf")
            with open(path, "w") as file:
                file.write(NGINX.format(threads=self.threads, folder=self.folder, port=port))
            words = [shutil.which("nginx") or "/usr/sbin/nginx", "-p", self.folder, "-c", path]
            self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.address = f"127.0.0.1:{port}"
            end = time.monotonic() + 10
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.02)
        else:
            words = [os.path.join(BIN, f"{self.name}_threads"), "--job", self.job, "--threads", str(self.threads)]
            self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            self.address = self.process.stdout.readline().split()[-1]
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)
        if self.folder:
            shutil.rmtree(self.folder)


def output(words):
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout


def echo(server, seconds):
    """Messages a second, and µs of CPU time for one."""
    before = cpu_ns(server.process.pid)
    messages = int(25_000 * seconds)
    line = output([os.path.join(BIN, "load"), "--connect", server.address, "--connections", "1000",
                   "--in-flight", "200", "--messages", str(messages)])
    # The 1,000 that warm up are in the CPU time, and so is accepting.
    spent = cpu_ns(server.process.pid) - before
    return float(re.search(r"per_second=(\S+)", line)[1]), spent / 1e3 / (messages + 1000)


def http(server, seconds):
    """Requests a second, and µs of CPU time for one."""
    before = cpu_ns(server.process.pid)
    text = output(["wrk", "-t1", "-c200", f"-d{seconds}s", f"http://{server.address}/"])
    spent = cpu_ns(server.process.pid) - before
    if "Non-2xx" in text or "Socket errors" in text:
        sys.exit(f"wrk saw errors: {text}")
    requests = float(re.search(r"(\d+) requests in", text)[1])
    return float(re.search(r"Requests/sec:\s+(\S+)", text)[1]), spent / 1e3 / requests


def table(title, servers, measure, options):
    runs = {server: [] for server in servers}
    for _ in range(options.rounds):
        for server in servers:
            with server:
                runs[server].append(measure(server, options.seconds))
    print(f"\n{title}, medians of {options.rounds}\n")
    print("| server | a second | ratio | least to most | µs of CPU time for one |")
    print("|---|---|---|---|---|")
    first = None
    for server, run in runs.items():
        rates = [rate for rate, _ in run]
        rate, cpu = statistics.median(rates), statistics.median(cpu for _, cpu in run)
        first = first or rate
        print(f"| {server.title()} | {rate:,.0f} | {rate / first:.2f} | {min(rates):,.0f} to {max(rates):,.0f} "
              f"| {cpu:.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of each run")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} processors, Linux {os.uname().release}; load before it began: {load:.1f}")
    both = [(name, threads) for name in ("slabloop", "tokio") for threads in (1, 2)]
    table("Echo: 1,000 connections, 200 messages of 64 bytes on their way",
          [Server(name, threads, "echo") for name, threads in both], echo, options)
    if shutil.which("wrk"):
        if shutil.which("nginx") or os.path.exists("/usr/sbin/nginx"):
            both += [("nginx", 1), ("nginx", 2)]
        table("HTTP: 200 connections, keep-alive GET of 12 bytes",
              [Server(name, threads, "http") for name, threads in both], http, options)
    print("\nSpread of connections\n")
    print(output([os.path.join(BIN, "spread")]), end="")


if __name__ == "__main__":
    main()
