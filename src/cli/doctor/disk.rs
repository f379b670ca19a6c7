//! How fast the database's own disk makes deliveries durable, and what that allows.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use super::{Finding, ok, warn};
use crate::store;

/// Checkpoints, which sync too, take about a tenth of the disk's time.
const SYNCS_PER_COMMIT: f64 = 1.1;

/// What 64 senders store with one commit, as `cargo bench` measures it: the gate passes at most 32 deliveries on at a time,
/// and while some of these are committed the others gather.
const SHARED_BY_64: f64 = 12.0;

/// From this rate on the processor of a small machine, and not its disk, is the limit.
const NO_LIMIT_PER_SECOND: f64 = 1000.0;

/// A directory that may not be written to is a note: the service may run as another user.
pub(super) fn sync(database: &Path) -> Finding {
    match store::sync_time(database) {
        Ok(time) => ok(meaning(time)),
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
            ok(format!("not measured: the directory of {} cannot be written: {error}", database.display()))
        }
        Err(error) => warn(format!("a file beside {} cannot be written and synced: {error}", database.display())),
    }
}

fn meaning(sync: Duration) -> String {
    let took = format!("a sync takes {}", milliseconds(sync));
    let lone = 1.0 / (sync.as_secs_f64() * SYNCS_PER_COMMIT);
    if lone >= NO_LIMIT_PER_SECOND {
        return format!("{took}: the processor, not the disk, limits how many deliveries a second are stored");
    }
    let (lone, many) = (rounded(lone), rounded(lone * SHARED_BY_64));
    format!(
        "{took}: a lone sender gets about {lone} deliveries a second, 64 senders get about {many}, as they share syncs"
    )
}

fn milliseconds(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

/// To two digits: one sync is not more exact.
fn rounded(rate: f64) -> String {
    if rate < 10.0 {
        return format!("{rate:.1}");
    }
    let unit = 10f64.powf(rate.log10().floor() - 1.0);
    format!("{:.0}", (rate / unit).round() * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rates_follow_from_the_sync() {
        let of_ms = |ms| meaning(Duration::from_millis(ms));
        let rates = |ms, lone, many| {
            format!(
                "a sync takes {ms} ms: a lone sender gets about {lone} deliveries a second, 64 senders get about {many}, as \
                 they share syncs"
            )
        };
        assert_eq!(of_ms(40), rates("40", "23", "270"));
        assert_eq!(of_ms(5), rates("5.0", "180", "2200"));
        assert_eq!(of_ms(2000), rates("2000", "0.5", "5.5"));
        assert!(meaning(Duration::from_micros(100)).starts_with("a sync takes 0.1 ms: the processor"));
        assert!(meaning(Duration::ZERO).starts_with("a sync takes 0.0 ms: the processor"));
    }
}
