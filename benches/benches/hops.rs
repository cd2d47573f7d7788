//! B1, hop rate: 8 routers, UDP of 64 bytes. B10, the same with a full trace.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pktlab_benches::Chain;
use sim_core::{SimTime, TraceMode};

const ROUTERS: usize = 8;
const PACKETS: u64 = 2_000;

fn hops(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chain8");
    group.throughput(Throughput::Elements(PACKETS * (ROUTERS as u64 + 1))).sample_size(20);
    let cases = [
        ("b1/veth", SimTime::ZERO, TraceMode::Off),
        ("b1/10us", SimTime::from_micros(10), TraceMode::Off),
        ("b10/veth-traced", SimTime::ZERO, TraceMode::Headers),
        ("b10/10us-traced", SimTime::from_micros(10), TraceMode::Headers),
    ];
    for (name, delay, mode) in cases {
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(|| Chain::new(ROUTERS, delay, mode), |chain| chain.send(PACKETS), BatchSize::LargeInput);
        });
    }
    group.finish();
}

criterion_group!(benches, hops);
criterion_main!(benches);
