#!/usr/bin/env python3
"""pktlab and its peers in turn in one run (A B C A B C ...), on the same work, so that ratios hold when the machine's speed drifts.

    benches/sidebyside.py --peers DIR [--rounds 9] [--packets 20000]

DIR holds the peers' own benchmarks: ns3/build/bench-debian (ns-3.37: `chain ROUTERS PACKETS 0`, 10 us links), optionally
ns3/build/bench-optimized, and kernel/bench.py (namespaces joined by veth pairs; needs root and gcc). What is missing is named
and left out. pktlab runs four times a round: 10 us links and zero-delay links, each with tracing off and with a full trace.

A hop is one link traversal of a delivered packet. Every run must report packets * (routers + 1) hops, or the whole run fails.
Prints each one's rate (hops per CPU second, median) and the medians of the pairwise ratios. No dependencies beyond Python 3.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

ROUTERS = 8
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def line(command):
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def ours(binary, packets, delay, trace):
    return lambda: line([binary, '--routers', str(ROUTERS), '--packets', str(packets), '--delay-us', str(delay), '--trace', trace])


def kernel(folder, packets):
    """The kernel's chain, with the peer's own builder and packet blaster."""
    sys.path.insert(0, folder)
    import bench

    subprocess.run(['gcc', '-O2', '-o', bench.BLAST, os.path.join(folder, 'pktblast.c')], check=True)
    bench.cleanup()
    mac, destination = bench.chain_build(ROUTERS)

    def run():
        before = bench.rx('cz')
        result = bench.blast('c0', 'raw', 'd1', mac, '10.8.0.1', destination, 9000, packets, 0, 22)
        result['work'] = (bench.rx('cz') - before) * (ROUTERS + 1)
        return result

    return run, bench.cleanup


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument('--peers', required=True)
    arguments.add_argument('--rounds', type=int, default=9)
    arguments.add_argument('--packets', type=int, default=20_000)
    options = arguments.parse_args()
    subprocess.run(['cargo', 'build', '-q', '--profile', 'bench', '-p', 'pktlab-benches', '--bin', 'hops'], cwd=ROOT, check=True)
    target = os.environ.get('CARGO_TARGET_DIR', os.path.join(ROOT, 'target'))
    binary = os.path.join(target, 'release', 'hops')
    peers, clean = {}, lambda: None
    for build in ('debian', 'optimized'):
        path = os.path.join(options.peers, 'ns3', 'build', f'bench-{build}')
        if os.path.exists(path):
            peers[f'ns3-{build}'] = lambda path=path: line([path, 'chain', str(ROUTERS), str(options.packets), '0'])
        else:
            print(f'left out: ns3-{build} (no {path})', file=sys.stderr)
    if os.geteuid() == 0:
        peers['kernel'], clean = kernel(os.path.abspath(os.path.join(options.peers, 'kernel')), options.packets)
    else:
        print('left out: the kernel (needs root)', file=sys.stderr)
    for delay, name in ((10, '10us'), (0, 'veth')):
        peers[f'pktlab-{name}'] = ours(binary, options.packets, delay, 'off')
        peers[f'pktlab-{name}-traced'] = ours(binary, options.packets, delay, 'headers')
    rates = {}
    try:
        for name in peers:
            peers[name]()
        for _ in range(options.rounds):
            for name, run in peers.items():
                result = run()
                wanted = options.packets * (ROUTERS + 1)
                if result['work'] != wanted:
                    sys.exit(f"{name} did {result['work']} hops, not {wanted}: the work is not the same")
                rates.setdefault(name, []).append(result['work'] / result['cpu_s'])
    finally:
        clean()
    for name, values in rates.items():
        print(f'{name:20} {statistics.median(values):>14,.0f} hops per CPU second')
    pairs = [
        ('pktlab-10us', 'ns3-debian', 'B1, 10 us links'),
        ('pktlab-10us', 'ns3-optimized', 'B1, 10 us links'),
        ('pktlab-veth', 'kernel', 'B1, zero-delay links'),
        ('pktlab-10us', 'pktlab-10us-traced', 'B10: tracing off to a full trace, 10 us links'),
        ('pktlab-veth', 'pktlab-veth-traced', 'B10: tracing off to a full trace, zero-delay links'),
    ]
    for one, other, what in pairs:
        if one in rates and other in rates:
            ratios = [a / b for a, b in zip(rates[one], rates[other])]
            low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
            print(f'{one} / {other}: {middle:.2f}x (from {low:.2f} to {high:.2f})  {what}')


if __name__ == '__main__':
    main()
