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

/// An estimate, no finer than it is known: `0.4 s`, `3 s`, `25 s`, `1 min 30 s`, `7 min`, `2 h 10 min`.
pub fn estimate(seconds: f64) -> String {
    let rounded = |to: f64| (seconds / to).round() as u64 * to as u64;
    match seconds {
        s if s < 0.95 => format!("{:.1} s", s.max(0.1)),
        s if s < 9.5 => format!("{} s", rounded(1.0)),
        s if s < 57.5 => format!("{} s", rounded(5.0)),
        s if s < 585.0 && rounded(30.0) % 60 == 30 => format!("{} min 30 s", rounded(30.0) / 60),
        s if s < 3570.0 => format!("{} min", rounded(60.0) / 60),
        _ => format!("{} h {:02} min", rounded(600.0) / 3600, rounded(600.0) % 3600 / 60),
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

/// `24 November 2025, 15:39 UTC`, of seconds since 1970.
pub fn instant(seconds: u64) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let (year, month, day) = civil(seconds);
    let minutes = seconds % 86_400 / 60;
    format!("{day} {} {year}, {:02}:{:02} UTC", MONTHS[month - 1], minutes / 60, minutes % 60)
}

/// `2025-11-24`, the day in UTC of seconds since 1970.
pub fn day(seconds: u64) -> String {
    let (year, month, day) = civil(seconds);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Year, month and day in UTC of seconds since 1970.
fn civil(seconds: u64) -> (u64, usize, u64) {
    // Days since 1 March of year 0, in eras of 400 years, so that a leap day is a year's last.
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year_of_era = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let year = 400 * era + year_of_era + u64::from(month >= 10);
    (year, (month as usize + 2) % 12 + 1, day_of_month)
}

/// A text that begins as a sentence does.
pub fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_begins_with_a_large_letter() {
        assert_eq!(["of two", "1 holds", "é", ""].map(capital), ["Of two", "1 holds", "É", ""]);
    }

    #[test]
    fn durations_and_sizes() {
        assert_eq!(duration(3.21), "3.2 s");
        assert_eq!(duration(59.7), "1 min 00 s");
        assert_eq!(duration(245.0), "4 min 05 s");
        assert_eq!(duration(7830.0), "2 h 10 min");
        let estimates =
            [0.04, 0.93, 0.96, 9.4, 9.6, 57.4, 57.6, 74.0, 76.0, 104.0, 106.0, 569.0, 586.0, 3569.0, 3571.0];
        let estimates: Vec<String> = estimates.into_iter().chain([7830.0]).map(estimate).collect();
        let said = "0.1 s, 0.9 s, 1 s, 9 s, 10 s, 55 s, 1 min, 1 min, 1 min 30 s, 1 min 30 s, 2 min, 9 min 30 s, 10 min, \
                    59 min, 1 h 00 min, 2 h 10 min";
        assert_eq!(estimates.join(", "), said);
        assert_eq!(bytes(12), "12 B");
        assert_eq!(bytes(11_594_722), "11.6 MB");
        assert_eq!(bytes(999_999), "1.0 MB");
    }

    #[test]
    fn instants_are_dates() {
        let cases = [
            (0, "1 January 1970, 00:00 UTC"),
            (951_782_399, "28 February 2000, 23:59 UTC"),
            (951_782_400, "29 February 2000, 00:00 UTC"),
            (951_868_800, "1 March 2000, 00:00 UTC"),
            (1_735_689_599, "31 December 2024, 23:59 UTC"),
            (1_763_998_740, "24 November 2025, 15:39 UTC"),
            (4_107_542_400, "1 March 2100, 00:00 UTC"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(instant(seconds), expected);
        }
        assert_eq!(
            [0, 951_782_399, 951_782_400, 4_107_542_400].map(day),
            ["1970-01-01", "2000-02-28", "2000-02-29", "2100-03-01"]
        );
    }
}
