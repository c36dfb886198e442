//! Pages: an opaque cursor that says behind what the next page begins, and limits.

use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// Items of a page where nobody says how many.
pub(crate) const LIMIT: usize = 100;
/// Items of a page at most.
pub(crate) const MAX_LIMIT: usize = 1_000;
/// Longest cursor that is read.
const MAX_CURSOR: usize = 2_048;

/// The limit that was asked for.
pub(crate) fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(LIMIT) {
        n @ 1..=MAX_LIMIT => Ok(n),
        n => Err(Problem::parameter("limit", format!("limit is {n}"), format!("give 1 to {MAX_LIMIT}"))),
    }
}

/// What a cursor holds, with the list that it belongs to.
#[derive(Serialize, Deserialize)]
struct Sealed<T> {
    of: String,
    behind: T,
}

/// A cursor that continues the list `of` behind something.
pub(crate) fn cursor<T: Serialize>(of: &str, behind: &T) -> String {
    let bytes = serde_json::to_vec(&Sealed { of: of.to_owned(), behind }).unwrap_or_default();
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// What is in a cursor of the list `of`.
pub(crate) fn behind<T: DeserializeOwned>(of: &str, cursor: &str) -> Result<T, Problem> {
    let wrong = || {
        Problem::parameter(
            "cursor",
            "the cursor is not one of this list",
            "take `next` of the page before as it is, or leave it out to begin anew",
        )
    };
    if cursor.len() > MAX_CURSOR || !cursor.len().is_multiple_of(2) || !cursor.is_ascii() {
        return Err(wrong());
    }
    let byte = |i: usize| u8::from_str_radix(&cursor[i..i + 2], 16);
    let bytes: Vec<u8> = (0..cursor.len()).step_by(2).map(byte).collect::<Result<_, _>>().map_err(|_| wrong())?;
    let sealed: Sealed<T> = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
    if sealed.of == of { Ok(sealed.behind) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_of_its_own_list_only_and_anything_else_is_refused() {
        let c = cursor("a", &(7, "ü"));
        assert_eq!(behind::<(u8, String)>("a", &c).unwrap(), (7, "ü".to_owned()));
        for bad in ["", "0", "zz", "éé", "7b7d", &c[2..], &"0".repeat(5_000), "+1+1"] {
            assert_eq!(behind::<(u8, String)>("a", bad).unwrap_err().field.as_deref(), Some("cursor"), "{bad}");
        }
        assert!(behind::<(u8, String)>("b", &c).is_err());
    }
}
