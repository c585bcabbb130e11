"""Runs a FakeCluster until standard input ends; prints its routing endpoint first. For clients in other languages."""

import sys

from .fake_cluster import FakeCluster

if __name__ == "__main__":
    cluster = FakeCluster()
    print(cluster.routing, flush=True)
    sys.stdin.read()
    cluster.close()
