//! Devices by name: `flex`, `ndarray`, `wgpu:0`, `cuda:1`, `auto`.

use burn::tensor::{DType, Device, Tensor};

/// Names that [`by_name`] knows, with the feature that compiles each in.
pub const KINDS: [&str; 4] = ["flex", "ndarray", "wgpu", "cuda"];

/// A device that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// Not a name of a device.
    #[error("`{0}` is not a device: use auto, flex, ndarray, wgpu[:INDEX] or cuda[:INDEX]")]
    Unknown(String),
    /// The program was built without it.
    #[error("the device `{0}` is not compiled in: run {cmd}", cmd = command_for(.0))]
    NotCompiled(&'static str),
    /// There is no such hardware, or its driver is missing.
    #[error(
        "the device `{name}` is not there: {found} of its kind found; `cargo xtask doctor` lists what this program can use, `--device flex` always works"
    )]
    NotPresent {
        /// The name asked for.
        name: String,
        /// Devices of that kind.
        found: usize,
    },
}

fn command_for(kind: &str) -> String {
    match kind {
        "ndarray" => "`cargo xtask-ndarray reproduce --device ndarray`".into(),
        "wgpu" => "`cargo xtask-wgpu reproduce --device wgpu:0`".into(),
        "cuda" => "`cargo xtask-cuda reproduce --device cuda:0` (its build downloads a compiler)".into(),
        other => format!("`cargo xtask reproduce --device {other}` (a build with default features)"),
    }
}

/// The fastest CPU backend that is compiled in, by the figures in
/// `docs/performance.md`; never a GPU.
pub fn auto() -> &'static str {
    if cfg!(feature = "flex") { "flex" } else { "ndarray" }
}

/// The device named `kind[:index]`; `auto` is [`auto`].
///
/// # Errors
/// When the name is unknown, not compiled in, or nothing of that kind is there.
pub fn by_name(name: &str) -> Result<Device, DeviceError> {
    let name = if name == "auto" { auto() } else { name };
    let (kind, index) = name.split_once(':').unwrap_or((name, "0"));
    let index: usize = index.parse().map_err(|_| DeviceError::Unknown(name.to_owned()))?;
    let Some(kind) = KINDS.into_iter().find(|known| *known == kind) else {
        return Err(DeviceError::Unknown(name.to_owned()));
    };
    let devices = enumerate(kind).ok_or(DeviceError::NotCompiled(kind))?;
    let found = devices.len();
    devices.into_iter().nth(index).ok_or_else(|| DeviceError::NotPresent { name: name.to_owned(), found })
}

/// Every device of a kind, or `None` when the kind is not compiled in. Only asks
/// the driver for a list: nothing is opened.
pub fn enumerate(kind: &str) -> Option<Vec<Device>> {
    match kind {
        #[cfg(feature = "flex")]
        "flex" => Some(vec![Device::flex()]),
        #[cfg(feature = "ndarray")]
        "ndarray" => Some(vec![ndarray()]),
        #[cfg(feature = "wgpu")]
        "wgpu" => Some(Device::enumerate(burn::tensor::DeviceType::Wgpu).into_vec()),
        #[cfg(feature = "cuda")]
        "cuda" => Some(Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec()),
        _ => None,
    }
}

/// Burn 0.22 marks its ndarray backend as deprecated in favour of flex. We keep it as the
/// independent second CPU backend that every kernel is tested on.
#[cfg(feature = "ndarray")]
#[allow(deprecated)]
fn ndarray() -> Device {
    Device::new(burn_ndarray::NdArrayDevice::Cpu)
}

/// What is known of a device beside its name: number formats of a CPU backend, the
/// hardware and driver of a GPU.
pub fn details(kind: &str, index: usize, device: &Device) -> String {
    match kind {
        "flex" | "ndarray" => {
            let formats = [("f32", DType::F32), ("f64", DType::F64), ("f16", DType::F16), ("bf16", DType::BF16)];
            let there = formats.into_iter().filter(|(_, dtype)| device.supports_dtype(*dtype)).map(|(name, _)| name);
            there.collect::<Vec<_>>().join(", ")
        }
        #[cfg(feature = "wgpu")]
        "wgpu" => adapters().into_iter().nth(index).unwrap_or_else(|| format!("{device:?}")),
        _ => format!("{device:?}, number {index}"),
    }
}

/// Name, driver and graphics API of each adapter that wgpu finds. Nothing is opened.
#[cfg(feature = "wgpu")]
fn adapters() -> Vec<String> {
    use burn_wgpu::wgpu;
    let backends = wgpu::Backends::PRIMARY;
    let descriptor = wgpu::InstanceDescriptor { backends, ..wgpu::InstanceDescriptor::new_without_display_handle() };
    let found = std::pin::pin!(wgpu::Instance::new(descriptor).enumerate_adapters(backends));
    // On native systems the list is there at once: the future is never pending.
    match found.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Pending => Vec::new(),
        std::task::Poll::Ready(adapters) => adapters
            .iter()
            .map(|adapter| {
                let info = adapter.get_info();
                let driver = format!("{} {}", info.driver, info.driver_info);
                format!("{} ({:?}, {:?}, driver {})", info.name, info.device_type, info.backend, driver.trim())
            })
            .collect(),
    }
}

/// The kind of a device name without its index: part of a cell's key.
pub fn kind(name: &str) -> &str {
    let name = if name == "auto" { auto() } else { name };
    name.split(':').next().unwrap_or(name)
}

/// The CPU backends that are compiled in.
pub fn cpus() -> Vec<Device> {
    ["flex", "ndarray"].into_iter().filter_map(enumerate).flatten().collect()
}

/// Whether tensors of this device live in the memory of this process, so that a
/// kernel written in Rust can read them.
pub fn is_cpu(device: &Device) -> bool {
    let plain = device.clone().without_autodiff();
    cpus().contains(&plain)
}

/// Whether matrix products of f32 may round their factors to 10 bits (TF32): on CUDA, whose tensor cores do. The
/// shaders of wgpu have no such units.
pub fn may_round_products(device: &Device) -> bool {
    let plain = device.clone().without_autodiff();
    enumerate("cuda").is_some_and(|all| all.contains(&plain))
}

/// Whether a fused kernel of ours takes the tensor: f32, on a CPU backend.
pub fn takes_kernels<const D: usize>(x: &Tensor<D>) -> bool {
    has_kernels(&x.device(), x.dtype())
}

/// [`takes_kernels`] before there is a tensor.
pub fn has_kernels(device: &Device, dtype: DType) -> bool {
    dtype == DType::F32 && is_cpu(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_their_errors() {
        assert_eq!(by_name("gpu"), Err(DeviceError::Unknown("gpu".into())));
        assert_eq!(by_name("flex:x"), Err(DeviceError::Unknown("flex:x".into())));
        assert_eq!(by_name("flex:3"), Err(DeviceError::NotPresent { name: "flex:3".into(), found: 1 }));
        assert!(is_cpu(&by_name("auto").unwrap()));
        assert!(is_cpu(&by_name("auto").unwrap().autodiff()));
        assert_eq!(kind("cuda:1"), "cuda");
    }

    #[test]
    fn kernels_take_f32_only() {
        for device in cpus() {
            assert!(takes_kernels(&Tensor::<1>::zeros([1], (&device, DType::F32))));
            assert!(takes_kernels(&Tensor::<1>::zeros([1], (&device.clone().autodiff(), DType::F32))));
            assert!(!takes_kernels(&Tensor::<1>::zeros([1], (&device, DType::F64))));
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_missing_feature_names_the_command_to_type() {
        let error = by_name("cuda:0").unwrap_err();
        assert_eq!(error, DeviceError::NotCompiled("cuda"));
        assert!(error.to_string().contains("cargo xtask-cuda reproduce --device cuda:0"), "{error}");
    }
}
