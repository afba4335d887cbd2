//! Local times and days, without a calendar library: the browser knows the time zone.

use js_sys::Date;
use wasm_bindgen::JsValue;

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn date(ts: u64) -> Date {
    Date::new(&JsValue::from_f64(ts as f64))
}

/// `10:32`
pub(crate) fn clock(ts: u64) -> String {
    let date = date(ts);
    let two = |n: u32| [if n < 10 { "0" } else { "" }, &n.to_string()].concat();
    [two(date.get_hours()), ":".into(), two(date.get_minutes())].concat()
}

/// A local day, as the span of milliseconds from its first moment to the next day's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Day {
    start: u64,
    end: u64,
}

impl Day {
    /// The day that holds `ts`.
    pub(crate) fn of(ts: u64) -> Self {
        let day = date(ts);
        let midnight = |offset: i32| {
            let at = Date::new_with_year_month_day(
                day.get_full_year(),
                i32::try_from(day.get_month()).unwrap_or_default(),
                i32::try_from(day.get_date()).unwrap_or_default() + offset,
            );
            at.get_time().max(0.0) as u64
        };
        Self { start: midnight(0), end: midnight(1) }
    }

    pub(crate) fn holds(self, ts: u64) -> bool {
        (self.start..self.end).contains(&ts)
    }

    /// `Tue 24 Feb`, with the year when it is not this one.
    pub(crate) fn label(self) -> String {
        let day = date(self.start);
        let name = |names: &[&'static str], at: u32| names.get(at as usize).copied().unwrap_or_default();
        let mut label = [
            name(&WEEKDAYS, day.get_day()),
            " ",
            &day.get_date().to_string(),
            " ",
            name(&MONTHS, day.get_month()),
        ]
        .concat();
        if day.get_full_year() != Date::new_0().get_full_year() {
            label.push(' ');
            label.push_str(&day.get_full_year().to_string());
        }
        label
    }
}

/// `2 h ago`
pub(crate) fn ago(ts: u64) -> String {
    let seconds = (Date::now() - ts as f64).max(0.0) as u64 / 1000;
    let (n, unit) = match seconds {
        0..60 => return "just left".into(),
        60..3_600 => (seconds / 60, " min ago"),
        3_600..86_400 => (seconds / 3_600, " h ago"),
        _ => (seconds / 86_400, " d ago"),
    };
    [&*n.to_string(), unit].concat()
}
