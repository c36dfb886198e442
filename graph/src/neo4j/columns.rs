//! Rows of nodes with one set of properties, sent as lists instead of maps.
//!
//! Names that stand in the statement need not come with every row, and the server sets properties that it knows
//! beforehand faster than those of a map. Every set of names is a statement of its own, which the server has to plan:
//! so only what many rows have in common goes this way.

use crate::projection::NodeRow;

/// Rows that are worth a statement of their own.
const LEAST: usize = 50;

/// Statements of a step at most; what is left goes as maps.
const MOST: usize = 8;

/// Rows with the same names, in their order.
#[derive(Debug)]
pub(super) struct Alike<R> {
    pub(super) names: Vec<&'static str>,
    pub(super) rows: Vec<R>,
}

/// Cuts rows into those that have one set of names each, and the rest.
pub(super) fn alike<R: Copy>(rows: &[R], node: impl Fn(&R) -> &NodeRow) -> (Vec<Alike<R>>, Vec<R>) {
    if rows.len() < LEAST {
        return (Vec::new(), rows.to_vec());
    }
    let mut found: Vec<Alike<R>> = Vec::new();
    let mut rest = Vec::new();
    for row in rows {
        let props = &node(row).props;
        let same = found.iter().position(|f| f.names.iter().eq(props.keys()));
        match same {
            Some(at) => found[at].rows.push(*row),
            None if found.len() < 4 * MOST => {
                found.push(Alike { names: props.keys().copied().collect(), rows: vec![*row] });
            }
            None => rest.push(*row),
        }
    }
    // Those with most rows first, and none that is too small.
    found.sort_by_key(|f| std::cmp::Reverse(f.rows.len()));
    let many = found.iter().take(MOST).take_while(|f| f.rows.len() >= LEAST).count();
    rest.extend(found.drain(many..).flat_map(|f| f.rows));
    (found, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(names: &[&'static str]) -> NodeRow {
        NodeRow { key: "k".to_owned(), props: names.iter().map(|n| (*n, 1.into())).collect() }
    }

    #[test]
    fn many_rows_of_one_kind_go_together_and_none_is_lost() {
        let mut rows: Vec<NodeRow> = (0..100).map(|_| row(&["a", "b"])).collect();
        rows.extend((0..60).map(|_| row(&[])));
        rows.extend((0..10).map(|_| row(&["a"])));
        rows.push(row(&["a", "b"]));
        let refs: Vec<&NodeRow> = rows.iter().collect();
        let (found, rest) = alike(&refs, |r| r);
        let told: Vec<_> = found.iter().map(|f| (f.names.clone(), f.rows.len())).collect();
        assert_eq!((told, rest.len()), (vec![(vec!["a", "b"], 101), (vec![], 60)], 10));
    }

    #[test]
    fn few_rows_and_rows_of_many_kinds_stay_maps() {
        let few: Vec<NodeRow> = (0..LEAST - 1).map(|_| row(&["a"])).collect();
        let refs: Vec<&NodeRow> = few.iter().collect();
        assert!(matches!(alike(&refs, |r| r), (found, rest) if found.is_empty() && rest.len() == LEAST - 1));
        let names: Vec<&'static str> = "a b c d e f g h i j k l m n o p".split(' ').collect();
        let rows: Vec<NodeRow> = (0..16 * 60).map(|i| row(&names[i % 16..=i % 16])).collect();
        let refs: Vec<&NodeRow> = rows.iter().collect();
        let (found, rest) = alike(&refs, |r| r);
        assert_eq!((found.len(), rest.len()), (MOST, (16 - MOST) * 60));
    }
}
