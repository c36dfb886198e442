//! A large JSON object, cut into what can be read one by one as it comes: the members of the outermost object, and of
//! those that are lists, the elements.
//!
//! A node's `/pods` and `/stats/summary` are a list in an object. Cut like this, no more than one pod has to be held.

/// Bytes of a member's name.
const NAME: usize = 256;

/// The answer is not one JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotJson;

/// What was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    /// The member that it is, or that it is an element of.
    pub(crate) name: &'a str,
    /// Its text; none where it was longer than the bound.
    pub(crate) json: Option<&'a [u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Start,
    /// Before a name, or the end.
    Name,
    InName,
    Colon,
    Value,
    /// Before an element, or the end of the list.
    Element,
    /// In a value: of the object, or of a list in it.
    In {
        list: bool,
        depth: u32,
        text: bool,
        escaped: bool,
        /// A number, `true`, `null`: ends before what follows.
        scalar: bool,
    },
    End,
}

/// The cutter.
pub(crate) struct Parts {
    at: At,
    name: Vec<u8>,
    name_escaped: bool,
    part: Vec<u8>,
    /// Longest part that is kept.
    max: usize,
    too_long: bool,
}

impl Parts {
    pub(crate) fn new(max: usize) -> Self {
        Parts { at: At::Start, name: Vec::new(), name_escaped: false, part: Vec::new(), max, too_long: false }
    }

    /// Whether the object was closed.
    pub(crate) fn is_whole(&self) -> bool {
        self.at == At::End
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.too_long || self.part.len() + bytes.len() > self.max {
            self.too_long = true;
            self.part = Vec::new();
        } else {
            self.part.extend_from_slice(bytes);
        }
    }

    fn finish(&mut self, list: bool, each: &mut impl FnMut(Part<'_>)) {
        let json = (!self.too_long).then_some(self.part.as_slice());
        each(Part { name: std::str::from_utf8(&self.name).unwrap_or_default(), json });
        self.part.clear();
        self.too_long = false;
        self.at = if list { At::Element } else { At::Name };
    }

    /// Takes what came next; `each` gets what it completes.
    ///
    /// # Errors
    /// It cannot become a JSON object any more. What was cut off before stands.
    pub(crate) fn push(&mut self, bytes: &[u8], each: &mut impl FnMut(Part<'_>)) -> Result<(), NotJson> {
        let mut i = 0;
        while let Some(&b) = bytes.get(i) {
            let space = matches!(b, b' ' | b'\n' | b'\r' | b'\t');
            match self.at {
                At::In { list, .. } => {
                    let (used, done) = self.inside(bytes.get(i..).unwrap_or_default())?;
                    i += used;
                    if done {
                        self.finish(list, each);
                    }
                    continue;
                }
                At::InName => match b {
                    b'"' if !self.name_escaped => self.at = At::Colon,
                    _ => {
                        self.name_escaped = b == b'\\' && !self.name_escaped;
                        if self.name.len() >= NAME {
                            return Err(NotJson);
                        }
                        self.name.push(b);
                    }
                },
                _ if space => {}
                At::Start if b == b'{' => self.at = At::Name,
                At::Name => match b {
                    b'"' => {
                        self.name.clear();
                        self.name_escaped = false;
                        self.at = At::InName;
                    }
                    b',' => {}
                    b'}' => self.at = At::End,
                    _ => return Err(NotJson),
                },
                At::Colon if b == b':' => self.at = At::Value,
                At::Value if b == b'[' => self.at = At::Element,
                At::Element if b == b']' => self.at = At::Name,
                At::Element if b == b',' => {}
                At::Value | At::Element if !matches!(b, b',' | b':' | b']' | b'}') => {
                    let list = self.at == At::Element;
                    // The byte itself is looked at again, inside.
                    let scalar = !matches!(b, b'{' | b'[' | b'"');
                    self.at = At::In { list, depth: 0, text: false, escaped: false, scalar };
                    continue;
                }
                At::Start | At::Colon | At::Value | At::Element | At::End => return Err(NotJson),
            }
            i += 1;
        }
        Ok(())
    }

    /// Goes through a value: how many bytes are its, and whether it ended.
    fn inside(&mut self, bytes: &[u8]) -> Result<(usize, bool), NotJson> {
        let At::In { list, mut depth, mut text, mut escaped, scalar } = self.at else { return Err(NotJson) };
        let mut end = None;
        for (i, &b) in bytes.iter().enumerate() {
            if text {
                match b {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => {
                        text = false;
                        if depth == 0 {
                            end = Some(i + 1);
                            break;
                        }
                    }
                    _ => {}
                }
                continue;
            }
            match b {
                b'"' if scalar => return Err(NotJson),
                b'"' => text = true,
                b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t' if scalar => {
                    end = Some(i);
                    break;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth = depth.checked_sub(1).ok_or(NotJson)?;
                    if depth == 0 {
                        end = Some(i + 1);
                        break;
                    }
                }
                _ => {}
            }
        }
        let used = end.unwrap_or(bytes.len());
        self.keep(bytes.get(..used).unwrap_or_default());
        self.at = At::In { list, depth, text, escaped, scalar };
        Ok((used, end.is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Cut = Vec<(String, Option<String>)>;

    fn cut(text: &[u8], piece: usize, max: usize) -> Result<(Cut, bool), NotJson> {
        let mut parts = Parts::new(max);
        let mut out = Vec::new();
        for p in text.chunks(piece) {
            parts.push(p, &mut |p| {
                let json = p.json.map(|j| String::from_utf8_lossy(j).into_owned());
                out.push((p.name.to_owned(), json));
            })?;
        }
        Ok((out, parts.is_whole()))
    }

    #[test]
    fn elements_and_members_come_out_whole_however_the_bytes_come() {
        let text = br#" {"kind":"PodList","n":12,"metadata":{"a":[1,"]}"]}, "items" : [ {"x":"\"}{"} ,{}, 7,"t", [[]]],"last":null} "#;
        let one = cut(text, text.len(), 1_000).unwrap();
        let want: Vec<(&str, &str)> = vec![
            ("kind", "\"PodList\""),
            ("n", "12"),
            ("metadata", r#"{"a":[1,"]}"]}"#),
            ("items", r#"{"x":"\"}{"}"#),
            ("items", "{}"),
            ("items", "7"),
            ("items", "\"t\""),
            ("items", "[[]]"),
            ("last", "null"),
        ];
        let got: Vec<_> = one.0.iter().map(|(n, j)| (n.as_str(), j.as_deref().unwrap())).collect();
        assert_eq!(got, want);
        assert!(one.1);
        for piece in 1..20 {
            assert_eq!(cut(text, piece, 1_000), Ok(one.clone()), "{piece} bytes at a time");
        }
    }

    #[test]
    fn what_is_too_long_is_passed_over_and_counted_once() {
        let text = br#"{"items":[{"a":"0123456789"},{"b":1}]}"#;
        let (out, whole) = cut(text, 3, 10).unwrap();
        assert_eq!(out, [("items".to_owned(), None), ("items".to_owned(), Some(r#"{"b":1}"#.to_owned()))]);
        assert!(whole);
    }

    #[test]
    fn what_is_cut_off_is_not_whole_and_what_is_no_object_is_refused() {
        let text = br#"{"items":[{"a":1},{"b":[2]}],"x":1}"#;
        for n in 0..text.len() {
            assert!(!cut(&text[..n], 5, 100).unwrap().1, "{n}");
        }
        for bad in ["[]", "x", "{}{", "{]", r#"{"a":1]}"#, r#"{"a"1}"#, "{\"a\":}", "<html>", r#"{"a":[}"#] {
            assert!(cut(bad.as_bytes(), 1, 100).is_err(), "{bad}");
        }
    }
}
