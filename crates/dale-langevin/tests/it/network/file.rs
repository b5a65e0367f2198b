//! A model file says what it is, and is held against what it is for.

use burn::prelude::*;
use burn::store::{ModuleSnapshot, SafetensorsStore};
use dale_langevin::DiffusionError;
use dale_langevin::net::{Edm, NetDenoiser, Training, UNetConfig};
use dale_langevin::pixels::Mapping;
use dale_langevin::score::Denoiser;
use plasticity_core::nn::save_model;
use plasticity_core::on_each_device;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{cpu, values};

use super::{edm, jittered, normal};

fn refusal(bytes: &[u8]) -> String {
    let error = Edm::load(bytes, &cpu()).unwrap_err();
    assert!(matches!(error, DiffusionError::ModelFile { .. } | DiffusionError::Setting { .. }), "{error:?}");
    error.to_string()
}

on_each_device!(a_model_comes_back_from_its_file_alone, |device: Device| {
    let sizes = UNetConfig { channels: 2, blocks: 2, embedding: 12, ..UNetConfig::new(4, &[1, 2]) };
    let unet = sizes.init(&mut Stream::new(4, "unet", 0), &device).unwrap();
    // A number that decimals of a fixed width would not give back.
    let model = Edm::new(unet, [2, 5, 3], 0.1 + 0.2).unwrap().with_mapping(Mapping { shift: 1.0 / 3.0 });
    let model = jittered(model);
    let bytes = model.save().unwrap();
    assert!(bytes == model.save().unwrap(), "equal models give equal bytes");

    let loaded = NetDenoiser::load(&bytes, 2, &device).unwrap();
    assert_eq!(loaded.edm().unet().config(), &sizes);
    assert_eq!((loaded.edm().shape(), loaded.edm().sd_data()), ([2, 5, 3], 0.1 + 0.2));
    assert_eq!(loaded.edm().mapping(), Some(Mapping { shift: 1.0 / 3.0 }));
    let y = normal("y", 3, 30, &device);
    let denoised = loaded.denoise(y.clone(), 0.4).unwrap();
    assert!(!denoised.is_autodiff());
    let own = NetDenoiser::new(&model, 2).unwrap().denoise(y, 0.4).unwrap();
    assert!(values(denoised) == values(own));
    // A model that was saved without a mapping does not invent one.
    assert_eq!(Edm::load(&edm(&sizes, 4, 0.5, &device).save().unwrap(), &device).unwrap().mapping(), None);
    assert!(NetDenoiser::load(&bytes, 0, &device).is_err());
});

#[test]
fn a_checkpoint_of_another_model_says_what_differs() {
    let sizes = UNetConfig::new(4, &[1]);
    let start = |sizes: &UNetConfig, side, sd_data| Training::new(edm(sizes, side, sd_data, &cpu()), 0.9);
    let files = start(&sizes, 8, 0.22).save().unwrap();
    let cases = [
        ("sd_data", start(&sizes, 8, 0.44)),
        ("shape", start(&sizes, 9, 0.22)),
        ("network", start(&UNetConfig::new(4, &[2]), 8, 0.22)),
        ("shift", Training::new(edm(&sizes, 8, 0.22, &cpu()).with_mapping(Mapping { shift: 0.1 }), 0.9)),
    ];
    for (what, mut other) in cases {
        let before = save_model(&other.model).unwrap();
        let error = other.load(&files).unwrap_err().to_string();
        assert!(error.contains("model.safetensors") && error.contains(&format!("its `{what}` is ")), "{error}");
        assert!(save_model(&other.model).unwrap() == before);
    }
}

#[test]
fn files_that_are_no_model_are_refused_before_they_cost_anything() {
    let model = edm(&UNetConfig::new(4, &[1]), 8, 0.22, &cpu());
    let bytes = model.save().unwrap();
    assert!(refusal(&[]).contains("not a safetensors file"));
    assert!(refusal(&bytes[..7]).contains("not a safetensors file"));
    assert!(refusal(b"\xff\xff\xff\xff\xff\xff\xff\xff{}").contains("not a safetensors file"));
    assert!(refusal(&bytes[..bytes.len() - 4]).starts_with("model file: "));
    // Bare weights, as other programs write them.
    assert!(refusal(&save_model(&model).unwrap()).contains("does not say what it is"));

    // The same values under another card.
    let card = |card: &str| {
        let mut store = SafetensorsStore::from_bytes(None).clear_metadata().metadata("dale-langevin", card);
        model.save_into(&mut store).unwrap();
        refusal(&store.get_bytes().unwrap())
    };
    let with = |base: &str, shape: &str, sd_data: &str| {
        let unet = format!(r#"{{"channels":1,"base":{base},"multipliers":[1],"blocks":1,"embedding":16}}"#);
        card(&format!(r#"{{"format":1,"unet":{unet},"shape":{shape},"sd_data":{sd_data},"shift":null}}"#))
    };
    assert!(card("{}").contains("missing field"), "{}", card("{}"));
    assert!(card(r#"{"format":2}"#).starts_with("model file: "));
    assert!(with("8", "[1,8,8]", "0.22").contains("values"), "{}", with("8", "[1,8,8]", "0.22"));
    assert!(with("6", "[1,8,8]", "0.22").contains("`base` is 6"));
    assert!(with("18446744073709551612", "[1,8,8]", "0.22").contains("`base`"));
    assert!(with("4", "[3,8,8]", "0.22").contains("`shape`"));
    assert!(with("4", "[1,8,8]", "-1.0").contains("`sd_data`"));
    // A value more than the network has parameters, and one that is not a number.
    let mut broken = bytes.clone();
    let at = broken.len() - 4;
    broken[at..].copy_from_slice(&f32::NAN.to_le_bytes());
    let found = refusal(&broken);
    assert!(found.starts_with("model file: ") && found.contains("holds NaN, which is not a finite number"), "{found}");
}

#[test]
fn sizes_beyond_bounds_are_named() {
    let good = UNetConfig::new(4, &[1]);
    let named = |config: UNetConfig, name: &str| {
        let error = config.init(&mut Stream::new(1, "unet", 0), &cpu()).unwrap_err();
        assert!(matches!(error, DiffusionError::Setting { field, .. } if field == name), "{error}");
        assert_eq!(config.parameters().unwrap_err(), error);
    };
    named(UNetConfig { base: usize::MAX - 3, ..good.clone() }, "base");
    named(UNetConfig { multipliers: vec![usize::MAX], ..good.clone() }, "base");
    named(UNetConfig { multipliers: vec![1; 17], ..good.clone() }, "multipliers");
    named(UNetConfig { blocks: usize::MAX, ..good.clone() }, "blocks");
    named(UNetConfig { channels: usize::MAX, ..good.clone() }, "channels");
    named(UNetConfig { embedding: usize::MAX, ..good.clone() }, "embedding");
    named(UNetConfig { base: 1 << 14, blocks: 64, multipliers: vec![1; 16], ..good }, "base");
}
