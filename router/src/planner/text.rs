//! Owns `Text`: a query string as tokens with matching brackets. It gives no meaning to words.

use crate::lexer::{Dialect, Encoding, LexError, Lexer, MAX_IDENTIFIER_BYTES, Token, TokenKind};
use std::borrow::Cow;

/// Most tokens in a text that is classified.
pub const MAX_TOKENS: usize = 2_000_000;
/// Deepest nesting of brackets in a text that is classified.
pub const MAX_DEPTH: usize = 10_000;
/// Most operators in a text that is classified.
pub const MAX_OPERATORS: usize = 500_000;

/// Why a text has no tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadError {
    Lex(LexError),
    Limit(&'static str),
}

/// A hint comment and how many tokens stand before it.
#[derive(Debug)]
pub(crate) struct HintAt {
    pub(crate) token: Token,
    pub(crate) tokens_before: usize,
}

#[derive(Debug)]
pub(crate) struct Text<'a> {
    pub(crate) sql: &'a [u8],
    /// The text with ASCII letters in lower case: same spans.
    lower: Vec<u8>,
    tokens: Vec<Token>,
    /// For an opening bracket its closing one and the other way round; itself for others.
    partners: Vec<u32>,
    pub(crate) hints: Vec<HintAt>,
    /// Names with high bytes cannot be compared with the catalog's.
    foreign_names: bool,
}

impl<'a> Text<'a> {
    pub(crate) fn read(sql: &'a [u8], dialect: Dialect) -> Result<Self, ReadError> {
        let mut lexer = Lexer::new(sql, dialect).map_err(ReadError::Lex)?;
        let mut tokens: Vec<Token> = Vec::with_capacity(sql.len() / 4 + 8);
        let mut hints = Vec::new();
        let mut operators = 0;
        while let Some(token) = lexer.next_token().map_err(ReadError::Lex)? {
            match token.kind {
                TokenKind::HintComment => {
                    hints.push(HintAt { token, tokens_before: tokens.len() });
                    continue;
                }
                TokenKind::Operator => operators += 1,
                _ => {}
            }
            if tokens.len() >= MAX_TOKENS {
                return Err(ReadError::Limit("more than 2000000 tokens"));
            }
            if operators > MAX_OPERATORS {
                return Err(ReadError::Limit("more than 500000 operators"));
            }
            tokens.push(token);
        }
        let partners = match_brackets(&tokens)?;
        let foreign_names = !sql.is_ascii() && dialect.encoding != Encoding::Utf8;
        let lower = sql.to_ascii_lowercase();
        Ok(Self { sql, lower, tokens, partners, hints, foreign_names })
    }

    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(crate) fn token(&self, at: usize) -> Option<Token> {
        self.tokens.get(at).copied()
    }

    pub(crate) fn kind(&self, at: usize) -> Option<TokenKind> {
        self.tokens.get(at).map(|token| token.kind)
    }

    pub(crate) fn is_kind(&self, at: usize, kind: TokenKind) -> bool {
        self.kind(at) == Some(kind)
    }

    /// The kind of the token before `at`.
    pub(crate) fn kind_before(&self, at: usize) -> Option<TokenKind> {
        self.kind(at.checked_sub(1)?)
    }

    /// The text as it was written.
    pub(crate) fn raw(&self, at: usize) -> &'a [u8] {
        self.tokens.get(at).map(|token| token.text(self.sql)).unwrap_or_default()
    }

    /// The same of the token before `at`.
    pub(crate) fn raw_before(&self, at: usize) -> &'a [u8] {
        at.checked_sub(1).map_or(&[], |before| self.raw(before))
    }

    /// The text from the first byte of one token to the last of another (`to` is not included).
    pub(crate) fn raw_range(&self, from: usize, to: usize) -> &'a [u8] {
        let first = self.tokens.get(from).map(|token| token.start as usize);
        let last = to.checked_sub(1).and_then(|at| self.tokens.get(at));
        match (first, last) {
            (Some(start), Some(last)) => self.sql.get(start..last.end as usize).unwrap_or_default(),
            _ => &[],
        }
    }

    /// The same as [`Self::raw`] with ASCII letters in lower case.
    pub(crate) fn lower(&self, at: usize) -> &[u8] {
        self.tokens.get(at).map(|token| token.text(&self.lower)).unwrap_or_default()
    }

    /// The unquoted word at `at` in lower case; empty when there is another token or none.
    pub(crate) fn word(&self, at: usize) -> &str {
        match self.tokens.get(at) {
            Some(token) if token.kind == TokenKind::Word => {
                std::str::from_utf8(token.text(&self.lower)).unwrap_or("\u{fffd}")
            }
            _ => "",
        }
    }

    /// The unquoted word before `at`, like [`Self::word`].
    pub(crate) fn word_before(&self, at: usize) -> &str {
        at.checked_sub(1).map_or("", |before| self.word(before))
    }

    pub(crate) fn is(&self, at: usize, word: &str) -> bool {
        self.word(at) == word
    }

    /// Whether the words at `at` and after it are these.
    pub(crate) fn are(&self, at: usize, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(offset, word)| self.is(at + offset, word))
    }

    /// The name at `at`, quoted or not, as the catalog has it.
    pub(crate) fn name(&self, at: usize) -> Option<Cow<'_, str>> {
        let token = self.tokens.get(at)?;
        match token.kind {
            TokenKind::Word => {
                std::str::from_utf8(self.lower(at)).ok().map(|word| Cow::Borrowed(clip(word)))
            }
            _ => identifier(self.sql, token),
        }
    }

    pub(crate) fn is_identifier(&self, at: usize) -> bool {
        matches!(
            self.kind(at),
            Some(TokenKind::Word | TokenKind::QuotedIdentifier | TokenKind::UnicodeIdentifier)
        )
    }

    /// The bracket that belongs to the one at `at`; `None` when it has none.
    pub(crate) fn partner(&self, at: usize) -> Option<usize> {
        let partner = *self.partners.get(at)? as usize;
        (partner != at).then_some(partner)
    }

    /// Whether the name at `at` may be spelled otherwise in the catalog.
    pub(crate) fn is_foreign_name(&self, at: usize) -> bool {
        self.kind(at) == Some(TokenKind::UnicodeIdentifier)
            || self.foreign_names && self.is_identifier(at) && !self.raw(at).is_ascii()
    }
}

/// The name an identifier token stands for; `None` for `U&"..."`, whose escape character may
/// come later, and for tokens that are no identifiers.
pub(crate) fn identifier<'a>(sql: &'a [u8], token: &Token) -> Option<Cow<'a, str>> {
    let text = std::str::from_utf8(token.text(sql)).ok()?;
    match token.kind {
        TokenKind::Word => Some(Cow::Owned(clip(&text.to_ascii_lowercase()).to_string())),
        TokenKind::QuotedIdentifier => {
            let inside = text.strip_prefix('"')?.strip_suffix('"')?;
            match inside.contains('"') {
                true => Some(Cow::Owned(clip(&inside.replace("\"\"", "\"")).to_string())),
                false => Some(Cow::Borrowed(clip(inside))),
            }
        }
        _ => None,
    }
}

/// PostgreSQL cuts long names silently, at a character's border.
fn clip(name: &str) -> &str {
    if name.len() <= MAX_IDENTIFIER_BYTES {
        return name;
    }
    let end = (0..=MAX_IDENTIFIER_BYTES).rev().find(|&at| name.is_char_boundary(at));
    name.get(..end.unwrap_or(0)).unwrap_or_default()
}

fn match_brackets(tokens: &[Token]) -> Result<Vec<u32>, ReadError> {
    // Token indices fit: there are no more than MAX_TOKENS.
    let mut partners: Vec<u32> = (0..tokens.len() as u32).collect();
    let mut open: Vec<(usize, TokenKind)> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let wanted = match token.kind {
            TokenKind::OpenParen | TokenKind::OpenBracket => {
                if open.len() >= MAX_DEPTH {
                    return Err(ReadError::Limit("brackets nested deeper than 10000"));
                }
                open.push((at, token.kind));
                continue;
            }
            TokenKind::CloseParen => TokenKind::OpenParen,
            TokenKind::CloseBracket => TokenKind::OpenBracket,
            _ => continue,
        };
        let Some((opener, kind)) = open.pop() else { continue };
        if kind != wanted {
            // The server rejects such a text; keep the bracket for a better match.
            open.push((opener, kind));
            continue;
        }
        if let Some(slot) = partners.get_mut(opener) {
            *slot = at as u32;
        }
        if let Some(slot) = partners.get_mut(at) {
            *slot = opener as u32;
        }
    }
    Ok(partners)
}
