//! Whether a confidence means what it says: of the answers given 0.8, four in five should be right.

/// A cause that was given: its confidence, and whether it was right.
pub(super) type Given = (f64, bool);

/// Confidences from which an answer belongs to the next bin.
const EDGES: [f64; 2] = [0.5, 0.8];

/// Prints Brier score, area under the curve and the three bins.
pub(super) fn report(given: &[Given]) {
    if given.is_empty() {
        return;
    }
    let n = given.len() as f64;
    let right = given.iter().filter(|g| g.1).count() as f64;
    let base = right / n;
    println!(
        "calibration over {n} given causes (the first three of each answer): Brier {:.3}, best constant {:.3}; area under the curve {}",
        brier(given),
        base * (1.0 - base),
        area(given).map_or_else(|| "-".to_owned(), |a| format!("{a:.2}")),
    );
    println!("{:<12} {:>5} {:>10} {:>8}   95 % interval (Wilson)", "confidence", "n", "mean said", "right");
    let [low, high] = EDGES;
    for (name, from, to) in [("below 0.5", 0.0, low), ("0.5 to 0.8", low, high), ("from 0.8", high, 1.01)] {
        let bin: Vec<&Given> = given.iter().filter(|(c, _)| (from..to).contains(c)).collect();
        if bin.is_empty() {
            println!("{name:<12} {:>5}", 0);
            continue;
        }
        let m = bin.len() as f64;
        let said = bin.iter().map(|(c, _)| c).sum::<f64>() / m;
        let hit = bin.iter().filter(|(_, ok)| *ok).count() as f64;
        let (a, b) = wilson(hit, m);
        println!("{name:<12} {m:>5} {said:>10.2} {:>8.2}   {a:.2} to {b:.2}", hit / m);
    }
}

fn brier(given: &[Given]) -> f64 {
    given.iter().map(|(c, ok)| (c - f64::from(u8::from(*ok))).powi(2)).sum::<f64>() / given.len() as f64
}

/// The chance that a right one was given more confidence than a wrong one; none without both.
fn area(given: &[Given]) -> Option<f64> {
    let (right, wrong): (Vec<&Given>, Vec<&Given>) = given.iter().partition(|(_, ok)| *ok);
    if right.is_empty() || wrong.is_empty() {
        return None;
    }
    let score = |a: f64, b: f64| {
        if a > b {
            1.0
        } else if a < b {
            0.0
        } else {
            0.5
        }
    };
    let sum: f64 = right.iter().flat_map(|r| wrong.iter().map(move |w| score(r.0, w.0))).sum();
    Some(sum / (right.len() * wrong.len()) as f64)
}

/// Wilson's interval of a share, at 95 %.
fn wilson(hits: f64, n: f64) -> (f64, f64) {
    let z = 1.96_f64;
    let p = hits / n;
    let mid = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    ((mid - half).max(0.0), (mid + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_of_the_text_books() {
        let given = [(0.9, true), (0.8, true), (0.7, false), (0.3, false)];
        assert!((brier(&given) - (0.01 + 0.04 + 0.49 + 0.09) / 4.0).abs() < 1e-9);
        assert_eq!(area(&given), Some(1.0));
        assert_eq!(area(&[(0.5, true), (0.5, false)]), Some(0.5));
        assert_eq!(area(&[(0.5, true)]), None);
        let (a, b) = wilson(8.0, 10.0);
        assert!((a - 0.490).abs() < 0.002 && (b - 0.943).abs() < 0.002, "{a} {b}");
    }
}
