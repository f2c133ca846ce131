//! Owns the normal form of a statement text and its hash: the key of the plan cache.
//!
//! This runs on every query, so it is written for few instructions: one pass, words folded while
//! they are copied, nothing allocated once warm. It must not decide what a statement does; texts
//! with one normal form get one plan, so whatever a plan depends on must survive in it.
//!
//! The normal form: white space and comments dropped, unquoted words folded, a space after each
//! token that could otherwise run into the next one. Literals of SELECT, INSERT, UPDATE, DELETE,
//! MERGE, VALUES, TABLE and WITH become one control byte that tells their kind; other statements
//! keep theirs. A `/* pgm: ... */` comment stays, as it changes the plan.

use crate::lexer::{CLASS, Class, Dialect, LOWER, LexError, Lexer, Token, TokenKind};
use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

/// Longest normal form that may be cached (8 KiB).
pub const MAX_NORMAL_BYTES: usize = 8 << 10;
/// Most lifted literals of a text that may be cached.
pub const MAX_LITERALS: usize = 1_000;
/// Literal spans there is room for from the start.
const USUAL_LITERALS: usize = 16;

/// Bytes of a run of words that are folded at once.
const RUN_BYTES: usize = 16;

/// What stands for a lifted integer.
const INTEGER_MARK: u8 = 1;

/// Why a text has no normal form.
pub type ScanError = LexError;

/// A reusable scratch: one per worker.
#[derive(Debug)]
pub struct Scan {
    secrets: RapidSecrets,
    /// Always `MAX_NORMAL_BYTES` long; the normal form is its first `length` bytes.
    buffer: Box<[u8]>,
    length: usize,
    literals: Vec<Token>,
    hash: u64,
    cacheable: bool,
}

impl Scan {
    /// Makes a scratch whose hashes depend on `seed`: take it from a random source once per
    /// process, so that nobody can prepare colliding statements.
    pub fn new(seed: u64) -> Self {
        Self {
            secrets: RapidSecrets::seed(seed),
            buffer: vec![0; MAX_NORMAL_BYTES].into_boxed_slice(),
            length: 0,
            literals: Vec::with_capacity(USUAL_LITERALS),
            hash: 0,
            cacheable: false,
        }
    }

    /// Reads `sql` and replaces what this scratch held before.
    ///
    /// # Errors
    /// The text cannot be read to its end; the scratch then holds an empty, uncacheable scan.
    pub fn scan(&mut self, sql: &[u8], dialect: Dialect) -> Result<(), ScanError> {
        self.literals.clear();
        self.length = 0;
        self.hash = 0;
        self.cacheable = false;
        let lexer = Lexer::new(sql, dialect)?;
        let mut writer = Writer {
            sql,
            lexer,
            out: &mut self.buffer,
            length: 0,
            literals: &mut self.literals,
            at_statement_start: true,
            lifts: false,
            odd: false,
        };
        let fits = match writer.run() {
            Ok(fits) => fits && !writer.odd,
            Err(error) => {
                self.literals.clear();
                return Err(error);
            }
        };
        self.length = writer.length;
        self.cacheable = fits;
        if fits {
            self.hash = rapidhash_v3_seeded(self.normal(), &self.secrets);
        }
        Ok(())
    }

    /// The normal form. Incomplete when the text is not [`Self::cacheable`].
    pub fn normal(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }

    /// The lifted literals in the order of the text. Incomplete when not [`Self::cacheable`].
    pub fn literals(&self) -> &[Token] {
        &self.literals
    }

    /// True when the text is one statement all of whose literals are lifted.
    pub fn lifts_all(&self) -> bool {
        let normal = self.normal();
        lifts_literals(normal) && memchr::memchr(b';', normal).is_none()
    }

    /// Seeded hash of the normal form.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// False for texts that are too large or too odd to be worth a place in the cache.
    pub fn cacheable(&self) -> bool {
        self.cacheable
    }
}

struct Writer<'a> {
    sql: &'a [u8],
    lexer: Lexer<'a>,
    out: &'a mut [u8],
    length: usize,
    literals: &'a mut Vec<Token>,
    at_statement_start: bool,
    /// Whether the literals of the current statement are lifted.
    lifts: bool,
    /// Saw a byte that is no SQL; control bytes among them would look like marks.
    odd: bool,
}

impl Writer<'_> {
    /// Returns false as soon as the text outgrows a limit.
    fn run(&mut self) -> Result<bool, ScanError> {
        let sql = self.sql;
        let mut at = 0;
        while let Some(&byte) = sql.get(at) {
            let fits = match CLASS[byte as usize] {
                Class::Space => {
                    at += 1;
                    continue;
                }
                class @ (Class::Word | Class::Prefix)
                    if class == Class::Word || !matches!(sql.get(at + 1), Some(b'\'' | b'&')) =>
                {
                    match self.words(at) {
                        Some(end) => {
                            at = end;
                            continue;
                        }
                        None => false,
                    }
                }
                Class::Punctuation => {
                    at += 1;
                    self.at_statement_start |= byte == b';';
                    self.put(byte)
                }
                Class::Operator if !is_operator(sql.get(at + 1)) => {
                    at += 1;
                    // Mostly a blank follows: it needs no turn of its own.
                    at += usize::from(sql.get(at) == Some(&b' '));
                    self.at_statement_start = false;
                    self.put(byte) && self.put(b' ')
                }
                Class::Dot if !matches!(sql.get(at + 1), Some(b'.' | b'0'..=b'9')) => {
                    at += 1;
                    self.put(b'.')
                }
                Class::Digit
                    if self.lifts
                        && let Some(end) = plain_integer(sql, at) =>
                {
                    let token =
                        Token { kind: TokenKind::Integer, start: at as u32, end: end as u32 };
                    at = end;
                    self.lift(token, INTEGER_MARK)
                }
                Class::DoubleQuote => match self.quoted(at) {
                    Some((fits, end)) => {
                        at = end;
                        fits
                    }
                    None => return Err(ScanError::UnterminatedIdentifier),
                },
                _ => {
                    self.lexer.position = at;
                    let Some(token) = self.lexer.next_token()? else { break };
                    if token.start as usize > at {
                        // Comments were skipped; what follows takes its usual way.
                        at = token.start as usize;
                        continue;
                    }
                    at = self.lexer.position;
                    self.token(token)
                }
            };
            if !fits {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Copies and folds the unquoted word at `at`, and the words that follow it with single blanks
    /// between them: those already stand as they do in the normal form. Returns where they end,
    /// `None` when they do not fit.
    #[inline(always)]
    fn words(&mut self, at: usize) -> Option<usize> {
        let from = self.length;
        let (out, text) = (self.out.get_mut(from..)?, self.sql.get(at..)?);
        if is_short(text) {
            return self.word(at, 0);
        }
        let mut count = fold_runs(text, out);
        match text.get(count.saturating_sub(2)..)? {
            // The text ends before a whole window does.
            _ if count < 2 => return self.word(at, count),
            // The last word has its blank already.
            [_, b' ', ..] => {}
            // The last letter may open a string, such as E'...'; its turn comes again.
            [b' ', _, b'\'' | b'&', ..] => count -= 1,
            _ => return self.word(at, count),
        }
        self.end_words(from, count);
        Some(at + count)
    }

    /// Copies and folds the unquoted word at `at` of which `count` bytes are copied already, maybe
    /// with other words before it.
    #[inline]
    fn word(&mut self, at: usize, count: usize) -> Option<usize> {
        let from = self.length;
        let (out, text) = (self.out.get_mut(from + count..)?, self.sql.get(at + count..)?);
        let more = fold_word(text, out);
        *out.get_mut(more)? = b' ';
        self.end_words(from, count + more + 1);
        Some(at + count + more)
    }

    /// Takes over `count` bytes of words, each with its blank.
    #[inline(always)]
    fn end_words(&mut self, from: usize, count: usize) {
        self.length = from + count;
        if self.at_statement_start {
            self.at_statement_start = false;
            self.lifts = self.out.get(from..from + count).is_some_and(lifts_literals);
        }
    }

    /// Copies a quoted identifier as it stands and returns where it ends, after whether it fits.
    /// `None` when it has no end.
    fn quoted(&mut self, at: usize) -> Option<(bool, usize)> {
        self.at_statement_start = false;
        let (Some(out), Some(text)) = (self.out.get_mut(self.length..), self.sql.get(at..)) else {
            return Some((false, at));
        };
        let mut count = 0;
        let mut quotes = 0;
        for (to, &byte) in out.iter_mut().zip(text) {
            *to = byte;
            count += 1;
            if byte == b'"' {
                quotes += 1;
                // An even number of quotes and none to follow: closed.
                if quotes % 2 == 0 && text.get(count) != Some(&b'"') {
                    self.length += count;
                    return Some((self.put(b' '), at + count));
                }
            }
        }
        // Either the text or the room for it ended first.
        (count < text.len()).then_some((false, at))
    }

    #[inline]
    fn lift(&mut self, token: Token, mark: u8) -> bool {
        if self.literals.len() >= MAX_LITERALS {
            return false;
        }
        self.literals.push(token);
        self.put(mark)
    }

    #[inline]
    fn put(&mut self, byte: u8) -> bool {
        match self.out.get_mut(self.length) {
            Some(to) => {
                *to = byte;
                self.length += 1;
                true
            }
            None => false,
        }
    }

    #[inline]
    fn token(&mut self, token: Token) -> bool {
        if self.lifts
            && let Some(mark) = token.kind.literal_mark()
        {
            return self.lift(token, mark);
        }
        match token.kind {
            TokenKind::Dot => return self.put(b'.'),
            TokenKind::HintComment => {}
            TokenKind::Word => {
                return self.word(token.start as usize, 0).is_some();
            }
            TokenKind::Other => self.odd = true,
            _ => self.at_statement_start = false,
        }
        self.copy(token)
    }

    /// Copies a token as it stands, with a space behind it.
    fn copy(&mut self, token: Token) -> bool {
        let text = token.text(self.sql);
        let end = self.length + text.len();
        let Some(to) = self.out.get_mut(self.length..end) else { return false };
        to.copy_from_slice(text);
        self.length = end;
        self.put(b' ')
    }
}

/// Whether the statement that begins with these words has its literals lifted.
#[inline]
fn lifts_literals(words: &[u8]) -> bool {
    words.starts_with(b"select ")
        || words.starts_with(b"insert ")
        || words.starts_with(b"update ")
        || words.starts_with(b"delete ")
        || words.starts_with(b"merge ")
        || words.starts_with(b"values ")
        || words.starts_with(b"table ")
        || words.starts_with(b"with ")
}

/// Folds bytes up to the first that cannot stand in a word, and returns how many.
#[inline]
fn fold_word(text: &[u8], out: &mut [u8]) -> usize {
    let most = text.len().min(out.len());
    let (Some(text), Some(out)) = (text.get(..most), out.get_mut(..most)) else { return 0 };
    for i in 0..most {
        let folded = LOWER[text[i] as usize];
        if folded == 0 {
            return i;
        }
        out[i] = folded;
    }
    most
}

/// Whether the word at the start has up to three bytes, or four and no blank behind it: folding it
/// alone is cheaper then.
#[inline]
fn is_short(text: &[u8]) -> bool {
    let goes_on = |byte: u8| LOWER[byte as usize] != 0;
    match *text {
        [_, two, three, four, five, ..] => {
            !(goes_on(two) && goes_on(three) && goes_on(four) && (goes_on(five) || five == b' '))
        }
        _ => true,
    }
}

/// Folds a run of words with single blanks between them as far as whole windows reach, and
/// returns how many bytes it has. The first byte must begin a word.
#[inline(never)]
fn fold_runs(text: &[u8], out: &mut [u8]) -> usize {
    let (Some(&byte), Some((to, mut room))) = (text.first(), out.split_first_mut()) else {
        return 0;
    };
    *to = LOWER[byte as usize];
    let mut count = 1;
    let mut rest = text;
    while let (Some(window), Some((to, more))) = (rest.first_chunk(), room.split_first_chunk_mut())
    {
        let run = fold_run(window, to);
        count += run;
        if run < RUN_BYTES {
            break;
        }
        rest = rest.get(RUN_BYTES..).unwrap_or_default();
        room = more;
    }
    count
}

/// Folds all of `window` but its first byte, which is known, and returns how many bytes go on a
/// run of words with single blanks between them. Written without branches, so that the compiler
/// can work on all bytes at once. A `$` ends a run, though a word may contain one.
#[inline]
fn fold_run(window: &[u8; RUN_BYTES + 1], to: &mut [u8; RUN_BYTES]) -> usize {
    let mut stops = [0; RUN_BYTES];
    for i in 0..RUN_BYTES {
        let (before, byte) = (window[i], window[i + 1]);
        let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        to[i] = if letter { byte | 0x20 } else { byte };
        let starts_word = letter | (byte == b'_') | (byte >= 0x80);
        let digit = byte.wrapping_sub(b'0') < 10;
        let goes_on = (digit | (byte == b' ')) & (before != b' ');
        stops[i] = if starts_word | goes_on { 0 } else { 0xff };
    }
    // Counts to RUN_BYTES when nothing stops it.
    u128::from_le_bytes(stops).trailing_zeros() as usize / 8
}

#[inline]
fn is_operator(byte: Option<&u8>) -> bool {
    byte.is_some_and(|&byte| CLASS[byte as usize] == Class::Operator)
}

/// The end of digits that are followed by nothing a number could go on with.
#[inline]
fn plain_integer(sql: &[u8], at: usize) -> Option<usize> {
    let mut end = at;
    while let Some(&eight) = sql.get(end..).and_then(<[u8]>::first_chunk) {
        let digits = leading_digits(eight);
        end += digits;
        if digits < 8 {
            break;
        }
    }
    while sql.get(end).is_some_and(u8::is_ascii_digit) {
        end += 1;
    }
    let goes_on = sql.get(end).is_some_and(|&byte| LOWER[byte as usize] != 0 || byte == b'.');
    (!goes_on).then_some(end)
}

/// How many of eight bytes are digits before the first other one.
#[inline]
fn leading_digits(eight: [u8; 8]) -> usize {
    // Digits become 0 to 9, and 0x76 more sets the high bit of all others below 0x80. Carries only
    // reach bytes behind the first other one.
    let values = u64::from_le_bytes(eight) ^ 0x3030_3030_3030_3030;
    let others = (values.wrapping_add(0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080;
    others.trailing_zeros() as usize / 8
}

#[cfg(test)]
mod tests;
