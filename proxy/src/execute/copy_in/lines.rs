//! Owns the borders of lines in COPY data, found as PostgreSQL finds them: the first line end
//! decides what all others are, escapes and quotes hide line ends, `\.` may end the data.
//!
//! Every server looks at its own lines only, and would take for good what breaks the rules for
//! the whole data. So the rules are checked here.

use crate::wire::error::SqlError;

/// How lines end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Unknown,
    Newline,
    Return,
    ReturnNewline,
}

/// A line of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// Its bytes, and those with its end.
    Line(usize, usize),
    /// The data ends here.
    End,
}

/// The way through the data. It may stop anywhere and go on when there is more.
#[derive(Debug)]
pub(super) struct Lines {
    ending: Ending,
    /// Bytes of the line that were looked at.
    seen: usize,
    /// Inside of quotes.
    quoted: bool,
    /// CSV: the quote, and the escape when it is another byte.
    csv: Option<(u8, Option<u8>)>,
    /// A line of `\.` ends CSV data.
    csv_end: bool,
}

impl Lines {
    pub(super) fn text() -> Self {
        Self { ending: Ending::Unknown, seen: 0, quoted: false, csv: None, csv_end: false }
    }

    /// `ends` says whether a line of `\.` ends the data, which is so before PostgreSQL 18.
    pub(super) fn csv(quote: u8, escape: u8, ends: bool) -> Self {
        let escape = Some(escape).filter(|escape| *escape != quote);
        Self { csv: Some((quote, escape)), csv_end: ends, ..Self::text() }
    }

    /// The first line of `data`, which begins with a line, or `None` when its end is not there.
    /// `last` says that nothing follows.
    pub(super) fn cut(&mut self, data: &[u8], last: bool) -> Result<Option<Cut>, SqlError> {
        let cut = match self.csv {
            None => self.cut_text(data, last)?,
            Some((quote, escape)) => self.cut_csv(data, last, quote, escape)?,
        };
        if cut.is_some() {
            (self.seen, self.quoted) = (0, false);
        }
        Ok(cut)
    }

    fn cut_text(&mut self, data: &[u8], last: bool) -> Result<Option<Cut>, SqlError> {
        let mut at = self.seen;
        while let Some(found) = memchr::memchr3(b'\n', b'\r', b'\\', &data[at..]) {
            let here = at + found;
            if data[here] != b'\\' {
                return self.end(data, here, last);
            }
            match data.get(here + 1) {
                None => return Ok(self.rest(data, here, last)),
                Some(b'.') => return self.marker(data, here, last),
                Some(_) => at = here + 2,
            }
        }
        Ok(self.rest(data, data.len(), last))
    }

    fn cut_csv(
        &mut self,
        data: &[u8],
        last: bool,
        quote: u8,
        escape: Option<u8>,
    ) -> Result<Option<Cut>, SqlError> {
        if self.csv_end && b"\\.".starts_with(&data[..data.len().min(2)]) && !data.is_empty() {
            match data.get(2) {
                None if !last => return Ok(None),
                Some(b'\n' | b'\r') => return self.marker(data, 0, last),
                // Elsewhere it is data like any other.
                _ => {}
            }
        }
        let mut at = self.seen;
        loop {
            let rest = &data[at..];
            let found = match (self.quoted, escape) {
                (false, _) => memchr::memchr3(b'\n', b'\r', quote, rest),
                (true, None) => memchr::memchr(quote, rest),
                (true, Some(escape)) => memchr::memchr2(quote, escape, rest),
            };
            let Some(found) = found else { return Ok(self.rest(data, data.len(), last)) };
            let here = at + found;
            if self.quoted && Some(data[here]) == escape {
                if data.len() == here + 1 {
                    return Ok(self.rest(data, here, last));
                }
                at = here + 2;
            } else if data[here] == quote {
                self.quoted = !self.quoted;
                at = here + 1;
            } else {
                return self.end(data, here, last);
            }
        }
    }

    /// No end was found before `seen`: wait, or take what is left for a line.
    fn rest(&mut self, data: &[u8], seen: usize, last: bool) -> Option<Cut> {
        self.seen = seen;
        (last && !data.is_empty()).then_some(Cut::Line(data.len(), data.len()))
    }

    /// A byte that ends lines stands at `here`.
    fn end(&mut self, data: &[u8], here: usize, last: bool) -> Result<Option<Cut>, SqlError> {
        let Some(bytes) = self.ending_at(data, here, last)? else {
            self.seen = here;
            return Ok(None);
        };
        Ok(Some(Cut::Line(here, here + bytes)))
    }

    /// Bytes of the line end at `here`; `None` when the next byte is needed to tell.
    fn ending_at(
        &mut self,
        data: &[u8],
        here: usize,
        last: bool,
    ) -> Result<Option<usize>, SqlError> {
        if data[here] == b'\n' {
            return match self.ending {
                Ending::Unknown | Ending::Newline => {
                    self.ending = Ending::Newline;
                    Ok(Some(1))
                }
                Ending::Return | Ending::ReturnNewline => Err(self.stray("newline", "\\n")),
            };
        }
        let next = data.get(here + 1);
        match self.ending {
            Ending::Newline => Err(self.stray("carriage return", "\\r")),
            Ending::Return => Ok(Some(1)),
            _ if next.is_none() && !last => Ok(None),
            _ if next == Some(&b'\n') => {
                self.ending = Ending::ReturnNewline;
                Ok(Some(2))
            }
            Ending::ReturnNewline => Err(self.stray("carriage return", "\\r")),
            Ending::Unknown => {
                self.ending = Ending::Return;
                Ok(Some(1))
            }
        }
    }

    /// `\.` stands at `here`: alone on its line it ends the data.
    fn marker(&mut self, data: &[u8], here: usize, last: bool) -> Result<Option<Cut>, SqlError> {
        match data.get(here + 2) {
            None if !last => {
                self.seen = here;
                Ok(None)
            }
            Some(b'\n' | b'\r') if here == 0 => {
                let ends = self.ending_at(data, 2, last)?;
                Ok(ends.map(|_| Cut::End))
            }
            // Servers before PostgreSQL 18 take what stands before it for a last row.
            _ => Err(SqlError::error("22P04", "end-of-copy marker is not alone on its line")),
        }
    }

    fn stray(&self, what: &str, escape: &str) -> SqlError {
        match self.csv {
            None => SqlError::error("22P04", format!("literal {what} found in data"))
                .hint(format!("Use \"{escape}\" to represent {what}.")),
            Some(_) => SqlError::error("22P04", format!("unquoted {what} found in data"))
                .hint(format!("Use quoted CSV field to represent {what}.")),
        }
    }
}
