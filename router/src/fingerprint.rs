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
use smallvec::SmallVec;

/// Longest normal form that may be cached (8 KiB).
pub const MAX_NORMAL_BYTES: usize = 8 << 10;
/// Most lifted literals of a text that may be cached.
pub const MAX_LITERALS: usize = 1_000;
/// Literal spans kept without an allocation.
const INLINE_LITERALS: usize = 16;

/// Why a text has no normal form.
pub type ScanError = LexError;

/// A reusable scratch: one per worker.
#[derive(Debug)]
pub struct Scan {
    secrets: RapidSecrets,
    /// Always `MAX_NORMAL_BYTES` long; the normal form is its first `length` bytes.
    buffer: Box<[u8]>,
    length: usize,
    literals: SmallVec<[Token; INLINE_LITERALS]>,
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
            literals: SmallVec::new(),
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
    literals: &'a mut SmallVec<[Token; INLINE_LITERALS]>,
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
                Class::Word => self.word(&mut at),
                Class::Prefix if !matches!(sql.get(at + 1), Some(b'\'' | b'&')) => {
                    self.word(&mut at)
                }
                Class::Punctuation => {
                    at += 1;
                    self.at_statement_start |= byte == b';';
                    self.put(byte)
                }
                _ => {
                    self.lexer.position = at;
                    let Some(token) = self.lexer.next_token()? else { break };
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

    /// Copies and folds an unquoted word in one go.
    #[inline]
    fn word(&mut self, at: &mut usize) -> bool {
        let from = self.length;
        let (Some(out), Some(text)) = (self.out.get_mut(from..), self.sql.get(*at..)) else {
            return false;
        };
        let mut count = 0;
        for (to, &byte) in out.iter_mut().zip(text) {
            let folded = LOWER[byte as usize];
            if folded == 0 {
                break;
            }
            *to = folded;
            count += 1;
        }
        let Some(end) = out.get_mut(count) else { return false };
        *end = b' ';
        self.length = from + count + 1;
        *at += count;
        if self.at_statement_start {
            self.first_word(from, from + count);
        }
        true
    }

    #[cold]
    fn first_word(&mut self, from: usize, to: usize) {
        self.at_statement_start = false;
        self.lifts = matches!(
            self.out.get(from..to),
            Some(
                b"select"
                    | b"insert"
                    | b"update"
                    | b"delete"
                    | b"merge"
                    | b"values"
                    | b"table"
                    | b"with"
            )
        );
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
            if self.literals.len() >= MAX_LITERALS {
                return false;
            }
            self.literals.push(token);
            return self.put(mark);
        }
        match token.kind {
            TokenKind::Dot => return self.put(b'.'),
            TokenKind::HintComment => {}
            TokenKind::Word => {
                let mut at = token.start as usize;
                return self.word(&mut at);
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

#[cfg(test)]
mod tests;
