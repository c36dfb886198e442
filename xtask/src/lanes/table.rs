//! The summary at the end: one line a lane.

/// How a lane ended.
pub(super) enum Ended {
    Ok,
    Skipped(String),
    Failed(String),
}

impl Ended {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Ended::Ok => "ok",
            Ended::Skipped(_) => "SKIPPED",
            Ended::Failed(_) => "FAILED",
        }
    }
}

/// One lane, done.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) ended: Ended,
    pub(super) secs: f64,
}

/// Prints all lanes.
pub(super) fn print(rows: &[Row]) {
    println!("\n==== summary ====");
    for r in rows {
        let why = match &r.ended {
            Ended::Ok => r.title.to_owned(),
            Ended::Skipped(why) | Ended::Failed(why) => why.lines().next().unwrap_or_default().to_owned(),
        };
        println!("{:<8} {:<11} {:>7.1} s  {why}", r.ended.word(), r.name, r.secs);
    }
    let total: f64 = rows.iter().map(|r| r.secs).sum();
    println!("{:<8} {:<11} {total:>7.1} s", "", "total");
}
