"""Peers that behave as Anna's own programs do, against a cluster that runs.

DINOMO_CLUSTER names the cluster's network, such as 127.0.10.0/24, with the addresses that `dinomo up` gives; DINOMO_PORTS its
port plan (anna or dinomo), DINOMO_KNS, DINOMO_KN_THREADS, DINOMO_ROUTES and DINOMO_ROUTE_THREADS its size. Without DINOMO_CLUSTER these tests
are skipped. By hand:

    dinomo up --routes 2 --set dinomo.ports=anna --set threads.routing=4
    cd tools/python && DINOMO_CLUSTER=127.0.10.0/24 DINOMO_PORTS=anna DINOMO_ROUTES=2 DINOMO_ROUTE_THREADS=4 \\
        /usr/bin/python3 -m unittest discover -s tests/anna -t .
"""
