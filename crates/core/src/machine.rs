//! Facts about this machine.

/// The processor's name, as the system tells it.
pub fn cpu_model() -> String {
    if let Ok(text) = std::fs::read_to_string("/proc/cpuinfo")
        && let Some(line) = text.lines().find(|line| line.starts_with("model name"))
        && let Some((_, name)) = line.split_once(':')
    {
        return name.trim().to_owned();
    }
    let sysctl = std::process::Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]).output();
    match sysctl {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// What a measurement says of where it was made, in one line: processor, threads, device, allocator.
pub fn line(device: &str) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let asked = std::env::var("RAYON_NUM_THREADS").unwrap_or_else(|_| "unset".into());
    let (model, threads) = (cpu_model(), rayon::current_num_threads());
    format!("machine: {model}, {cores} cores, rayon threads {threads} (RAYON_NUM_THREADS {asked}), {device}, mimalloc")
}
