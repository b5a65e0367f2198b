//! Numbers for people.

/// `3.2 s`, `4 min 05 s`, `2 h 10 min`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// `12 B`, `3.4 MB`: decimal units.
pub fn bytes(n: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes() {
        assert_eq!(duration(3.21), "3.2 s");
        assert_eq!(duration(59.7), "1 min 00 s");
        assert_eq!(duration(245.0), "4 min 05 s");
        assert_eq!(duration(7830.0), "2 h 10 min");
        assert_eq!(bytes(12), "12 B");
        assert_eq!(bytes(11_594_722), "11.6 MB");
        assert_eq!(bytes(999_999), "1.0 MB");
    }
}
