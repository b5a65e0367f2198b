//! O34: the ledger counts what is sent, and section 4 says how much that is.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use hidenseek::aggregate::{Rule, Zeros, broadcast, known, upload};
use hidenseek::codec::exchange::encode_bitmap;
use hidenseek::codec::message::declared_payload;
use hidenseek::codec::{BROADCAST, Coding, Expect, HEADER, Kind, Message, Stamp};
use hidenseek::ledger::{Count, Ledger, Method, Rates, cost_to_target, payload_bytes};
use plasticity_core::rng::Stream;

const RULES: [Rule; 8] = [
    Rule::MaskMean,
    Rule::MajorityVote,
    Rule::MaskEma { beta: 0.1 },
    Rule::ScoreMean,
    Rule::StochasticSign,
    Rule::ScaledSignDelta { zeros: Zeros::Keyed },
    Rule::ScaledSignDelta { zeros: Zeros::Ternary },
    Rule::BetaMode { clip: 0.01 },
];

/// A client's upload and the server's broadcast under a rule, encoded.
fn messages(rule: Rule, layers: &[usize]) -> (Vec<u8>, Vec<u8>) {
    let n = layers.iter().sum();
    let mut stream = Stream::new(34, "ledger", n as u64);
    let (old, trained) = (stream.uniform_vec(n, -0.1, 0.1), stream.uniform_vec(n, -0.1, 0.1));
    let stamp = Stamp { round: 1, client: 4, mask_hash: 99 };
    let known = known(rule, 0.1, layers, &old).unwrap();
    let up = upload(rule, &old, &trained, layers, 1, &mut stream).unwrap().encode(stamp, Coding::Raw, &known);
    (up, broadcast(rule, 0.1, &old, None).encode(Stamp::broadcast(1, 99)))
}

/// O34: T |S_t| (ceil(n / 8) + header) for raw masks, by the ledger and by a socket.
#[test]
fn o34_the_ledger_equals_the_socket() {
    let (rounds, clients, layers) = (3u32, 4u32, [250usize, 600, 77]);
    let n: usize = layers.iter().sum();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let masks = move |round: u32, client: u32| {
        let mut stream = Stream::new(u64::from(round), "mask", u64::from(client));
        (0..n).map(|_| stream.bernoulli(0.5)).collect::<Vec<_>>()
    };
    let sender = std::thread::spawn(move || {
        let mut socket = TcpStream::connect(address).unwrap();
        let mut ledger = Ledger::default();
        for round in 1..=rounds {
            for client in 0..clients {
                let payload = hidenseek::codec::bits::pack(&masks(round, client));
                let message = Message { kind: Kind::RawSigns, round, client, n: n as u32, mask_hash: 5, payload };
                let bytes = message.encode();
                ledger.up(&bytes).unwrap();
                socket.write_all(&bytes).unwrap();
            }
            let closed = ledger.close_round();
            assert_eq!(closed.bytes(), u64::from(clients) * (n.div_ceil(8) + HEADER) as u64);
            assert_eq!(ledger.round.bytes(), 0);
        }
        ledger
    });
    let (mut socket, _) = listener.accept().unwrap();
    let mut read = 0;
    for round in 1..=rounds {
        for client in 0..clients {
            let n = n as u32;
            let expect = Expect { kind: Kind::RawSigns, round, client, n, mask_hash: 5, layers: 3, voters: 0 };
            let mut bytes = vec![0; HEADER];
            socket.read_exact(&mut bytes).unwrap();
            let payload = declared_payload(&bytes, &expect).unwrap() as usize;
            bytes.resize(HEADER + payload, 0);
            socket.read_exact(&mut bytes[HEADER..]).unwrap();
            let message = Message::decode(&bytes, &expect).unwrap();
            assert_eq!(message.payload, hidenseek::codec::bits::pack(&masks(round, client)));
            read += bytes.len() as u64;
        }
    }
    assert_eq!(socket.read(&mut [0]).unwrap(), 0, "nothing after the last message");
    let ledger = sender.join().unwrap();
    assert_eq!(ledger.total.up.total().bytes(), read);
    assert_eq!(read, u64::from(rounds * clients) * (n.div_ceil(8) + HEADER) as u64);
    assert_eq!(ledger.total.up.of(Kind::RawSigns).messages, 12);
    assert_eq!(ledger.total.up.of(Kind::Scores), Count::default());
}

/// Section 3.7: 676 bytes against 100,436.
#[test]
fn o34_one_in_148() {
    let layers = [3920, 1000, 100];
    let (up, _) = messages(Rule::ScaledSignDelta { zeros: Zeros::Keyed }, &layers);
    assert_eq!(up.len(), 676);
    let (dense, _) = messages(Rule::ScoreMean, &[19600, 5000, 500]);
    assert_eq!(dense.len(), 100_436);
    let mut ledger = Ledger::default();
    ledger.up(&up).unwrap();
    let rates = ledger.uplink(25_100, 5020);
    assert!((rates.compression_with_headers - 148.6).abs() < 0.05, "{rates:?}");
    assert_eq!(rates.compression, 100_400.0 / 640.0);
    assert_eq!(rates.bpp, 640.0 * 8.0 / 25_100.0);
    assert_eq!(rates.bps, 640.0 * 8.0 / 5020.0);
}

/// Section 4's formulas are the lengths of the encoded buffers.
#[test]
fn o34_formulas_are_the_buffers() {
    for layers in [vec![250, 3675, 6474, 478], vec![3, 4], vec![1]] {
        let n = layers.iter().sum::<usize>() as u64;
        for rule in RULES {
            let (up, down) = messages(rule, &layers);
            let (up, down) = ((up.len() - HEADER) as u64, (down.len() - HEADER) as u64);
            let formula = payload_bytes(Method::HideNseek(rule), 5 * n, n, layers.len() as u64);
            if rule == (Rule::ScaledSignDelta { zeros: Zeros::Ternary }) {
                assert!(up <= formula.0 && down == formula.1, "{rule:?}");
            } else {
                assert_eq!((up, down), formula, "{rule:?}");
            }
        }
    }
    // The table: MNIST CNN at density 0.2, and the others' methods on its N.
    assert_eq!(payload_bytes(Method::HideNseek(Rule::MaskMean), 21750, 4350, 4), (544, 17400));
    assert_eq!(payload_bytes(Method::FedAvg { biases: 0 }, 21750, 4350, 4), (87_000, 87_000));
    assert_eq!(payload_bytes(Method::FedAvgPruned, 21750, 4350, 4), (17_400, 17_400));
    assert_eq!(payload_bytes(Method::FedPm, 21750, 4350, 4), (2719, 87_000));
    assert_eq!(payload_bytes(Method::SignSgd, 21750, 4350, 4), (2719, 2719));
    assert_eq!(payload_bytes(Method::LotteryFl { kept: 100, biases: 7 }, 21750, 4350, 4), (428, 428));
    let mask = |thresholded| payload_bytes(Method::FedMask { masked: 16_500, thresholded }, 21750, 4350, 4);
    assert_eq!((mask(false), mask(true)), ((2063, 66_000), (2063, 2063)));
    let dense: Count = Count { messages: 2, header: 72, payload: 2 * 1360 };
    assert!((Rates::new(dense, 21750, 10875).compression - 64.0).abs() < 0.05);
}

/// A broadcast counts once for each receiver, kinds and directions apart; the ledger survives a checkpoint.
#[test]
fn o34_directions_and_kinds_are_apart() {
    let (up, down) = messages(Rule::MaskMean, &[10, 10]);
    let mut ledger = Ledger::default();
    ledger.down(&encode_bitmap(&[255; 13], 100, Stamp::broadcast(0, 1)), 20).unwrap();
    let setup = ledger.close_round();
    assert_eq!(setup.down.of(Kind::PruneBitmap), Count { messages: 20, header: 720, payload: 260 });
    ledger.down(&down, 20).unwrap();
    ledger.up(&up).unwrap();
    assert_eq!(ledger.round.down.total(), Count { messages: 20, header: 720, payload: 1600 });
    assert_eq!(ledger.round.up.total(), Count { messages: 1, header: 36, payload: 3 });
    assert_eq!(ledger.total.bytes(), 980 + 2320 + 39);
    let text = serde_json::to_string(&ledger).unwrap();
    assert!(text.contains("raw-signs"), "{text}");
    assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger);
    assert!(ledger.up(b"not a message").is_err());
    assert_eq!(u32::from_le_bytes([down[12], down[13], down[14], down[15]]), BROADCAST);
}

#[test]
fn cost_to_target_smooths_over_five_evaluations() {
    let curve: Vec<(f64, u64)> =
        [0.0, 1.0, 1.0, 0.5, 1.0, 1.0, 1.0].into_iter().zip([10, 20, 30, 40, 50, 60, 70]).collect();
    assert_eq!(cost_to_target(&curve, 0.7), Some(50));
    assert_eq!(cost_to_target(&curve, 0.9), Some(60));
    assert_eq!(cost_to_target(&curve, 0.95), None);
    assert_eq!(cost_to_target(&curve[..4], 0.0), None);
}
