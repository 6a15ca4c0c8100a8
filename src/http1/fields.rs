//! Header fields as the bytes they came as, with the place of each line.
//!
//! Invariants
//! - Every line's name is a token and its value has no control character but the tab: parsing says so for lines that came,
//!   the callers for those that are added.
//! - Written out, a line is `name: value` and CR LF, whatever white space it came with.

use bytes::Bytes;

use super::name::Name;

/// Lines of a head with room for all of them at once: a browser sends some fifteen, the gateway adds ten.
const USUAL_LINES: usize = 28;

/// Bytes of the lines that are added, likewise.
const USUAL_ADDED: usize = 512;

/// The fields of a head, in the order they came.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    /// The bytes that came.
    wire: Bytes,
    /// Lines that were added, already in the form in which they are written.
    added: Vec<u8>,
    lines: Vec<Line>,
}

/// One field.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    pub name: Name,
    /// As it was spelt.
    pub name_text: &'a [u8],
    pub value: &'a [u8],
}

#[derive(Debug, Clone, Copy)]
struct Line {
    start: u32,
    value: u32,
    end: u32,
    name_length: u16,
    name: Name,
    origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// In `wire`, written as it would be here: it can be copied.
    Canonical,
    /// In `wire`, with other white space.
    Spaced,
    /// In `added`.
    Added,
}

impl Fields {
    /// Fields whose lines stand in `wire`.
    pub(super) fn of_wire(wire: Bytes) -> Self {
        Self { wire, added: Vec::new(), lines: Vec::with_capacity(USUAL_LINES) }
    }

    /// Notes one line of `wire` by the offsets of its name and of its value.
    pub(super) fn note(&mut self, name: std::ops::Range<usize>, value: std::ops::Range<usize>) {
        let canonical = value.start == name.end + 2
            && self.wire.get(name.end..value.start) == Some(b": ")
            && self.wire.get(value.end..value.end + 2) == Some(b"\r\n");
        let place = |offset: usize| u32::try_from(offset).expect("a head is bounded by far less");
        self.lines.push(Line {
            start: place(name.start),
            value: place(value.start),
            end: place(value.end),
            name_length: u16::try_from(name.len()).expect("names are bounded by the parser"),
            name: Name::of(&self.wire[name]),
            origin: if canonical { Origin::Canonical } else { Origin::Spaced },
        });
    }

    /// Adds a line. `name` is a token, `value` has no control character but the tab.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        self.add_named(Name::of(name.as_bytes()), name, value);
    }

    fn add_named(&mut self, name: Name, text: &str, value: &[u8]) {
        debug_assert!(
            !value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)),
            "{text} would end its line"
        );
        let start = self.added.len();
        if start == 0 {
            self.added.reserve(USUAL_ADDED);
        }
        self.added.extend_from_slice(text.as_bytes());
        self.added.extend_from_slice(b": ");
        let from = self.added.len();
        self.added.extend_from_slice(value);
        let end = self.added.len();
        self.added.extend_from_slice(b"\r\n");
        let place = |offset: usize| u32::try_from(offset).expect("what is added is small");
        self.lines.push(Line {
            start: place(start),
            value: place(from),
            end: place(end),
            name_length: u16::try_from(text.len()).expect("names that are added are short"),
            name,
            origin: Origin::Added,
        });
    }

    /// Takes out every line of that name and adds one.
    pub fn replace(&mut self, text: &str, value: &[u8]) {
        let name = Name::of(text.as_bytes());
        // Those that stand for many.
        if matches!(name, Name::Other | Name::Residency | Name::XForwarded | Name::Alias) {
            self.retain(|field| !field.name_text.eq_ignore_ascii_case(text.as_bytes()));
        } else {
            self.retain(|field| field.name != name);
        }
        self.add_named(name, text, value);
    }

    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> + Clone {
        self.lines.iter().map(|line| self.field(line))
    }

    fn field(&self, line: &Line) -> Field<'_> {
        let bytes = if line.origin == Origin::Added { &self.added } else { &self.wire[..] };
        let start = line.start as usize;
        Field {
            name: line.name,
            name_text: &bytes[start..start + usize::from(line.name_length)],
            value: &bytes[line.value as usize..line.end as usize],
        }
    }

    /// The values of a name that has one of its own.
    pub fn all(&self, name: Name) -> impl Iterator<Item = &[u8]> + Clone {
        self.lines.iter().filter(move |line| line.name == name).map(|line| self.field(line).value)
    }

    pub fn first(&self, name: Name) -> Option<&[u8]> {
        self.all(name).next()
    }

    pub fn has(&self, name: Name) -> bool {
        self.lines.iter().any(|line| line.name == name)
    }

    /// The values of any name, in any spelling of its letters.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + Clone + 'a {
        self.iter()
            .filter(|field| field.name_text.eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| field.value)
    }

    /// Keeps the lines that `keep` says yes to.
    pub fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.retain(|line| keep(self.field(line)));
        self.lines = lines;
    }

    pub fn len(&self) -> usize {
        self.lines.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// About as many bytes as [`Fields::write_to`] writes, and not fewer unless lines came without white space.
    pub(super) fn written_length(&self) -> usize {
        self.wire.len() + self.added.len()
    }

    /// Writes all lines. Neighbours that stand as they are written are copied together.
    pub(super) fn write_to(&self, out: &mut Vec<u8>) {
        let mut run = 0..0;
        let mut run_is_added = false;
        for line in &self.lines {
            let added = line.origin == Origin::Added;
            let (start, end) = (line.start as usize, line.end as usize + 2);
            if line.origin != Origin::Spaced && added == run_is_added && start == run.end {
                run.end = end;
                continue;
            }
            self.copy(out, run, run_is_added);
            run = 0..0;
            if line.origin == Origin::Spaced {
                let field = self.field(line);
                out.extend_from_slice(field.name_text);
                out.extend_from_slice(b": ");
                out.extend_from_slice(field.value);
                out.extend_from_slice(b"\r\n");
            } else {
                run = start..end;
                run_is_added = added;
            }
        }
        self.copy(out, run, run_is_added);
    }

    fn copy(&self, out: &mut Vec<u8>, run: std::ops::Range<usize>, added: bool) {
        out.extend_from_slice(if added { &self.added[run] } else { &self.wire[run] });
    }
}
