//! Oracles O30 to O32, and populations.

use std::collections::HashSet;

use hidenseek::FederationError;
use hidenseek::client::ClientData;
use hidenseek::partition::{Partition, Population, Scheme, ShardDraw, Synthetic};
use plasticity_core::rng::Stream;
use proptest::prelude::*;

fn shards(ways: usize, shots: usize, draw: ShardDraw) -> Scheme {
    Scheme::Shards { ways, shots, unbalance: 1.0, draw }
}

/// Labels of `n` images of ten classes, unequal like MNIST's.
fn labels(n: usize, seed: u64) -> Vec<u8> {
    let mut stream = Stream::new(seed, "labels", 0);
    (0..n).map(|_| (stream.below(103) * 10 / 103) as u8).collect()
}

fn classes_of(partition: &Partition, client: usize, labels: &[u8]) -> usize {
    partition.histogram(client, labels, 10).iter().filter(|count| **count > 0).count()
}

/// Every image at most once, as many as there are places.
fn assert_disjoint(partition: &Partition) -> usize {
    let all: Vec<u32> = (0..partition.clients()).flat_map(|k| partition.client(k)).collect();
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    all.len()
}

#[test]
fn o30_shards_are_disjoint_of_distinct_classes_and_of_the_sizes_asked_for() {
    let labels = labels(50_000, 0);
    let partition = Partition::new(&labels, 400, &shards(2, 20, ShardDraw::Distinct), 3).unwrap();
    assert_eq!(assert_disjoint(&partition), 400 * 40);
    for client in 0..400 {
        let mut histogram = partition.histogram(client, &labels, 10);
        histogram.retain(|count| *count > 0);
        assert_eq!(histogram, [20, 20], "client {client}");
    }
    assert_eq!(partition, Partition::new(&labels, 400, &shards(2, 20, ShardDraw::Distinct), 3).unwrap());
    assert_ne!(partition, Partition::new(&labels, 400, &shards(2, 20, ShardDraw::Distinct), 4).unwrap());

    // Later shards are cut.
    let cut = Scheme::Shards { ways: 3, shots: 20, unbalance: 0.33, draw: ShardDraw::Distinct };
    let partition = Partition::new(&labels, 50, &cut, 3).unwrap();
    let mut histogram = partition.histogram(7, &labels, 10);
    histogram.sort_unstable();
    assert_eq!(histogram[7..], [6, 6, 20]);

    // Exactly exhausted: 40 shards for 20 clients of two, which dead-ends in some draws.
    let few: Vec<u8> = (0..200).map(|i| (i / 20) as u8).collect();
    let dealt = Partition::new(&few, 20, &shards(2, 5, ShardDraw::Distinct), 0).unwrap();
    assert_eq!(assert_disjoint(&dealt), 200);
    assert!((0..20).all(|k| classes_of(&dealt, k, &few) == 2));
}

/// Every client has as many classes as it was promised, and where there is a client for every shard no class is lost,
/// whatever the seed.
#[test]
fn no_seed_drops_a_class_or_an_image_where_every_shard_has_a_client() {
    let labels: Vec<u8> = (0..1000).map(|i| (i % 10) as u8).collect();
    for seed in 0..200 {
        let dealt = Partition::new(&labels, 10, &shards(2, 50, ShardDraw::Distinct), seed).unwrap();
        assert_eq!(assert_disjoint(&dealt), 1000, "seed {seed}");
        assert!((0..10).all(|client| classes_of(&dealt, client, &labels) == 2), "seed {seed}");
    }
}

#[test]
fn o30_the_own_test_set_has_exactly_the_clients_labels() {
    let (train, test) = (labels(4000, 1), labels(700, 2));
    let data =
        |labels: &[u8]| ClientData { x: labels.iter().map(|l| f32::from(*l)).collect(), labels: labels.to_vec() };
    let partition = Partition::new(&train, 60, &shards(2, 10, ShardDraw::Distinct), 0).unwrap();
    let population = Population::new(data(&train), data(&test), 1, partition.clone()).unwrap();
    for client in 0..60 {
        let own = population.train(client);
        assert_eq!(own.labels.len(), 20);
        // The images are the labels: x and labels were gathered alike.
        assert!(own.x.iter().zip(&own.labels).all(|(x, label)| *x == f32::from(*label)));
        let classes: HashSet<u8> = own.labels.iter().copied().collect();
        let rows = population.personal_test(&own.labels);
        let expected: Vec<u32> = (0..700).filter(|i| classes.contains(&test[*i as usize])).collect();
        assert_eq!(rows, expected);
    }
    assert_eq!(population.train(60), ClientData::default());
    let foreign = Partition::Disjoint { order: vec![4000], starts: vec![0, 1] };
    let refused = Population::new(data(&train), data(&test), 1, foreign);
    assert!(matches!(refused, Err(FederationError::NotEnough { field: "partition", needed: 4001, found: 4000, .. })));
}

#[test]
fn o31_a_tenth_of_the_literal_draws_clients_have_one_class() {
    // 2,500 pure shards: (S/10 - 1) / (S - 1) = 0.0996; 40 seeds of 400 clients have standard error 0.0024.
    let labels: Vec<u8> = (0..50_000).map(|i| (i % 10) as u8).collect();
    let scheme = shards(2, 20, ShardDraw::Literal);
    let mut single = 0;
    for seed in 0..40 {
        let partition = Partition::new(&labels, 400, &scheme, seed).unwrap();
        assert_eq!(assert_disjoint(&partition), 16_000);
        single += (0..400).filter(|k| classes_of(&partition, *k, &labels) == 1).count();
    }
    let share = f64::from(u32::try_from(single).unwrap()) / 16_000.0;
    assert!((share - 0.09964).abs() < 4.0 * 0.0024, "{share}");
    // Shards of unequal classes straddle: some client has a third label.
    let uneven = self::labels(50_000, 0);
    let partition = Partition::new(&uneven, 1200, &scheme, 0).unwrap();
    assert!((0..1200).any(|k| classes_of(&partition, k, &uneven) == 3));
}

#[test]
fn o32_dirichlet_deals_everything_evenly_or_not() {
    let labels: Vec<u8> = (0..10_000).map(|i| (i % 10) as u8).collect();
    let deal = |alpha, seed| {
        let partition = Partition::new(&labels, 20, &Scheme::Dirichlet { alpha, least: 10 }, seed).unwrap();
        assert_eq!(assert_disjoint(&partition), 10_000);
        partition
    };
    let sizes = |p: &Partition| (0..20).map(|k| p.client(k).len()).collect::<Vec<_>>();
    let even = sizes(&deal(100.0, 0));
    assert!(even.iter().all(|n| (450..550).contains(n)), "{even:?}");
    let (mut classes, mut most, mut fewest) = (0, 0, usize::MAX);
    for seed in 0..10 {
        let skewed = deal(0.1, seed);
        classes += (0..20).map(|k| classes_of(&skewed, k, &labels)).sum::<usize>();
        most = most.max(*sizes(&skewed).iter().max().unwrap());
        fewest = fewest.min(*sizes(&skewed).iter().min().unwrap());
    }
    let classes = classes as f64 / 200.0;
    assert!((5.0..6.5).contains(&classes), "{classes} classes a client");
    assert!(most > 1000 && (10..60).contains(&fewest), "{fewest} to {most}");
    let impossible = Partition::new(&labels, 20, &Scheme::Dirichlet { alpha: 0.01, least: 490 }, 0);
    assert!(matches!(impossible, Err(FederationError::NotEnough { field: "least", .. })));
}

#[test]
fn more_than_the_data_holds_is_refused() {
    let labels = labels(1000, 0);
    let field = |clients, scheme: &Scheme| match Partition::new(&labels, clients, scheme, 0) {
        Err(FederationError::NotEnough { field, needed, found, .. }) => {
            assert!(needed > found, "{field}: {needed} of {found}");
            field
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(field(1_000_000, &shards(2, 20, ShardDraw::Distinct)), "clients");
    assert_eq!(field(26, &shards(2, 20, ShardDraw::Literal)), "clients");
    assert_eq!(field(3, &shards(11, 20, ShardDraw::Distinct)), "clients");
    assert_eq!(field(3, &shards(11, 20, ShardDraw::Overlap)), "ways");
    assert_eq!(field(101, &Scheme::Iid { shots: Some(10) }), "clients");
    assert_eq!(field(1001, &Scheme::Iid { shots: None }), "clients");
    let settings =
        |scheme: &Scheme| matches!(Partition::new(&labels, 3, scheme, 0), Err(FederationError::Setting { .. }));
    assert!(settings(&shards(0, 20, ShardDraw::Distinct)) && settings(&shards(2, 0, ShardDraw::Overlap)));
    assert!(settings(&Scheme::Dirichlet { alpha: 0.0, least: 1 }) && settings(&Scheme::Iid { shots: Some(0) }));
    let thin = Scheme::Shards { ways: 2, shots: 3, unbalance: 0.3, draw: ShardDraw::Distinct };
    assert!(settings(&thin));
}

#[test]
fn clients_that_overlap_draw_for_themselves() {
    let labels = labels(1000, 0);
    let partition = Partition::new(&labels, 1_000_000, &shards(2, 20, ShardDraw::Overlap), 5).unwrap();
    for client in [0, 1, 999_999] {
        let images = partition.client(client);
        assert_eq!(images.iter().collect::<HashSet<_>>().len(), 40, "no image twice within a client");
        assert_eq!(classes_of(&partition, client, &labels), 2);
        assert_eq!(images, partition.client(client));
    }
    assert_ne!(partition.client(0), partition.client(1));
    assert!(partition.client(1_000_000).is_empty());
    // Classes are drawn evenly: each of ten by a fifth of the clients.
    let mut seen = [0; 10];
    for client in 0..2000 {
        for (seen, count) in seen.iter_mut().zip(partition.histogram(client, &labels, 10)) {
            *seen += i32::from(count > 0);
        }
    }
    assert!(seen.iter().all(|n| (n - 400).abs() < 90), "{seen:?}");
}

#[test]
fn a_partition_by_hand_is_checked() {
    let data = ClientData { x: vec![0.0; 8], labels: vec![0; 4] };
    for starts in [vec![0, 3, 1], vec![0, 2, 5], vec![9, 9]] {
        let partition = Partition::Disjoint { order: vec![0, 1, 2, 3], starts };
        (0..partition.clients()).for_each(|client| assert!(partition.client(client).len() <= 4));
        let refused = Population::new(data.clone(), data.clone(), 2, partition).unwrap_err();
        assert!(matches!(refused, FederationError::Setting { field: "starts", .. }), "{refused}");
    }
    let partition = Partition::Disjoint { order: vec![3, 1], starts: vec![0, 2] };
    assert_eq!(Population::new(data.clone(), data, 2, partition).unwrap().train(0).labels, [0, 0]);
}

#[test]
fn a_synthetic_client_is_its_key() {
    let source = |seed| Synthetic::new((1_000_000, 2, 20), (30, 10), 0.5, seed).unwrap();
    let (a, b) = (source(1), source(1));
    assert_eq!(a.train(123_456), b.train(123_456));
    assert_ne!(a.train(123_456), a.train(123_457));
    assert_ne!(a.train(5), source(2).train(5));
    let data = a.train(5);
    assert_eq!((data.labels.len(), data.x.len()), (40, 1200));
    assert!(data.labels[0] != data.labels[20] && data.labels[..20].iter().all(|l| *l == data.labels[0]));
    // Images of a class lie around one prototype: distance 2 noise^2 against 2 (1 + noise^2) of another's.
    let test = a.test(50);
    let distance = |i: usize, j: usize| {
        let (p, q) = (&test.x[30 * i..30 * i + 30], &test.x[30 * j..30 * j + 30]);
        p.iter().zip(q).map(|(p, q)| (p - q).powi(2)).sum::<f32>() / 30.0
    };
    let mean = |other: usize| (0..50).map(|i| distance(i, other + (i + 1) % 50)).sum::<f32>() / 50.0;
    assert!((mean(0) - 0.5).abs() < 0.1, "{}", mean(0));
    assert!(mean(50) > 1.2, "{}", mean(50));
    assert!(matches!(
        Synthetic::new((10, 11, 1), (5, 10), 0.1, 0),
        Err(FederationError::NotEnough { field: "ways", .. })
    ));
}

proptest! {
    /// What is refused without the labels is refused with any.
    #[test]
    fn what_no_labels_can_serve_is_not_dealt(
        n in 1usize..120,
        classes in 1usize..6,
        clients in 1usize..12,
        (ways, shots, kind) in (1usize..5, 1usize..12, 0usize..6),
        seed: u64,
    ) {
        let mut stream = Stream::new(seed, "labels", 0);
        let labels: Vec<u8> = (0..n).map(|_| stream.below(classes as u64) as u8).collect();
        let scheme = match kind {
            0 => shards(ways, shots, ShardDraw::Distinct),
            1 => shards(ways, shots, ShardDraw::Literal),
            2 => shards(ways, shots, ShardDraw::Overlap),
            3 => Scheme::Iid { shots: Some(shots) },
            4 => Scheme::Iid { shots: None },
            _ => Scheme::Dirichlet { alpha: 1.0, least: shots },
        };
        let dealt = Partition::new(&labels, clients, &scheme, seed);
        prop_assert!(scheme.fits(n, classes, clients).is_ok() || dealt.is_err(), "{scheme:?}");
        // And these two can be told without.
        if matches!(scheme, Scheme::Iid { .. }) {
            prop_assert_eq!(scheme.fits(n, classes, clients).is_ok(), dealt.is_ok());
        }
    }

    #[test]
    fn iid_sizes_differ_by_one_at_most(n in 1usize..400, clients in 1usize..60, seed: u64) {
        prop_assume!(clients <= n);
        let partition = Partition::new(&vec![0; n], clients, &Scheme::Iid { shots: None }, seed).unwrap();
        prop_assert_eq!(assert_disjoint(&partition), n);
        let sizes: Vec<usize> = (0..clients).map(|k| partition.client(k).len()).collect();
        prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
    }
}
