//! Owns the taking apart of a query text: into statements, and a statement into words. It knows
//! PostgreSQL's comments and quotes, and no command.

/// One statement of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Statement<'a> {
    /// As written, without the semicolon.
    pub(super) text: &'a str,
    /// The same with a space for each byte of a comment; as long as `text`.
    pub(super) plain: String,
    /// Bytes before it.
    pub(super) start: usize,
}

/// A quote or a comment that does not end, and the bytes before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unterminated {
    pub(super) what: &'static str,
    pub(super) start: usize,
}

/// The statements of a text; empty ones are left out.
pub(super) fn split(text: &str) -> Result<Vec<Statement<'_>>, Unterminated> {
    let (mut found, mut start, mut at) = (Vec::new(), 0, 0);
    let mut comments: Vec<(usize, usize)> = Vec::new();
    loop {
        let rest = text.get(at..).unwrap_or_default();
        if rest.is_empty() || rest.starts_with(';') {
            push(&mut found, text, (start, at), &comments);
            comments.clear();
            if rest.is_empty() {
                return Ok(found);
            }
            at += 1;
            start = at;
            continue;
        }
        let before = text.get(..at).and_then(|head| head.chars().next_back());
        let length = match skip(rest, before) {
            Ok(Skipped::Comment(length)) => {
                comments.push((at, at + length));
                length
            }
            Ok(Skipped::Other(length)) => length,
            Err(what) => return Err(Unterminated { what, start: at }),
        };
        at += length;
    }
}

fn push<'a>(
    found: &mut Vec<Statement<'a>>,
    text: &'a str,
    (start, end): (usize, usize),
    comments: &[(usize, usize)],
) {
    let piece = text.get(start..end).unwrap_or_default();
    let mut plain = String::with_capacity(piece.len());
    let mut at = start;
    for &(from, to) in comments {
        plain.push_str(text.get(at..from).unwrap_or_default());
        plain.extend(std::iter::repeat_n(' ', to - from));
        at = to;
    }
    plain.push_str(text.get(at..end).unwrap_or_default());
    if !plain.trim().is_empty() {
        found.push(Statement { text: piece, plain, start });
    }
}

enum Skipped {
    Comment(usize),
    Other(usize),
}

/// The bytes of what the text begins with.
fn skip(rest: &str, before: Option<char>) -> Result<Skipped, &'static str> {
    let mut chars = rest.chars();
    let (first, second) = (chars.next().unwrap_or_default(), chars.next().unwrap_or_default());
    Ok(match (first, second) {
        ('-', '-') => Skipped::Comment(rest.find('\n').unwrap_or(rest.len())),
        ('/', '*') => Skipped::Comment(block_comment(rest).ok_or("comment")?),
        ('\'', _) => Skipped::Other(quoted(rest, '\'', false).ok_or("quoted string")?),
        ('e' | 'E', '\'') if !before.is_some_and(is_of_word) => {
            let string = rest.get(1..).unwrap_or_default();
            Skipped::Other(1 + quoted(string, '\'', true).ok_or("quoted string")?)
        }
        ('"', _) => Skipped::Other(quoted(rest, '"', false).ok_or("quoted identifier")?),
        ('$', _) if !before.is_some_and(is_of_word) => match dollar_tag(rest) {
            Some(tag) => {
                let body = rest.get(tag.len()..).unwrap_or_default();
                let length = body.find(tag).ok_or("dollar-quoted string")?;
                Skipped::Other(length + 2 * tag.len())
            }
            None => Skipped::Other(1),
        },
        _ => Skipped::Other(first.len_utf8()),
    })
}

fn block_comment(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let (mut depth, mut at) = (0usize, 0);
    while let Some(pair) = bytes.get(at..at + 2) {
        match pair {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The bytes of a quoted piece; a doubled quote does not end it.
fn quoted(rest: &str, quote: char, escapes: bool) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, char)) = chars.next() {
        if escapes && char == '\\' {
            chars.next();
        } else if char == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return Some(at + 1);
        }
    }
    None
}

/// `$$` or `$tag$`
fn dollar_tag(rest: &str) -> Option<&str> {
    let end = rest.get(1..)?.find('$')? + 2;
    let tag = rest.get(1..end - 1)?;
    let starts_as_name = !tag.starts_with(|first: char| first.is_ascii_digit());
    (starts_as_name && tag.chars().all(is_of_word)).then(|| rest.get(..end)).flatten()
}

fn is_of_word(char: char) -> bool {
    char == '_' || char.is_alphanumeric()
}

/// Reads the words of one statement.
pub(super) struct Words<'a> {
    text: &'a str,
    at: usize,
    /// Bytes up to the end of what was taken last.
    taken: usize,
}

impl<'a> Words<'a> {
    /// Of a statement's `plain` text.
    pub(super) fn new(text: &'a str) -> Self {
        let mut words = Self { text, at: 0, taken: 0 };
        words.skip_space();
        words
    }

    /// Bytes before what is next.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Bytes up to the end of what was taken last; comments that follow are behind it.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// What is left, without spaces around it.
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default().trim_end()
    }

    /// True when nothing is left.
    pub(super) fn is_done(&self) -> bool {
        self.rest().is_empty()
    }

    /// The next word, in lower case, when it is a plain one; it is taken.
    pub(super) fn word(&mut self) -> Option<String> {
        let rest = self.rest();
        let end = rest.find(|char| !is_of_word(char)).unwrap_or(rest.len());
        let word = rest.get(..end).filter(|word| !word.is_empty())?;
        self.advance(end);
        Some(word.to_ascii_lowercase())
    }

    /// Takes the next word when it is this one.
    pub(super) fn eat(&mut self, word: &str) -> bool {
        let before = (self.at, self.taken);
        let is_it = self.word().is_some_and(|next| next == word);
        if !is_it {
            (self.at, self.taken) = before;
        }
        is_it
    }

    /// Takes a sign when it is next.
    pub(super) fn eat_sign(&mut self, sign: char) -> bool {
        let is_it = self.rest().starts_with(sign);
        if is_it {
            self.advance(sign.len_utf8());
        }
        is_it
    }

    /// The next name or value: quoted, or up to a space.
    pub(super) fn argument(&mut self) -> Option<String> {
        self.until(|_| false)
    }

    /// The same, ending before a sign too.
    pub(super) fn argument_before(&mut self, sign: char) -> Option<String> {
        self.until(|char| char == sign)
    }

    fn until(&mut self, ends: impl Fn(char) -> bool) -> Option<String> {
        let rest = self.rest();
        let quote = rest.chars().next().filter(|first| matches!(first, '"' | '\''));
        if let Some(quote) = quote {
            let length = quoted(rest, quote, false)?;
            let text = rest.get(1..length - 1)?;
            self.advance(length);
            return Some(text.replace(&format!("{quote}{quote}"), &quote.to_string()));
        }
        let end = rest.find(|char: char| char.is_whitespace() || ends(char));
        let end = end.unwrap_or(rest.len());
        let text = rest.get(..end).filter(|text| !text.is_empty())?;
        self.advance(end);
        Some(text.to_owned())
    }

    fn advance(&mut self, bytes: usize) {
        self.at += bytes;
        self.taken = self.at;
        self.skip_space();
    }

    fn skip_space(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        self.at += rest.len() - rest.trim_start().len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        split(text).expect("terminated").iter().map(|statement| statement.text.trim()).collect()
    }

    #[test]
    fn semicolons_in_quotes_and_comments_do_not_part() {
        assert_eq!(texts(" a ;; b; "), ["a", "b"]);
        assert_eq!(
            texts("';' || \";\" ; $$;$$ ; $x$;$$;$x$"),
            ["';' || \";\"", "$$;$$", "$x$;$$;$x$"]
        );
        assert_eq!(texts("a -- ;\n b; /* ; /* ; */ ; */ c"), ["a -- ;\n b", "/* ; /* ; */ ; */ c"]);
        assert_eq!(texts(r"E'\';' ; 'a'';'"), [r"E'\';'", "'a'';'"]);
        assert_eq!(texts("a$1;$2 ; $1;$1"), ["a$1", "$2", "$1", "$1"]);
        assert_eq!(texts("-- only a comment"), Vec::<&str>::new());
        assert_eq!(texts("like'\\';x"), ["like'\\'", "x"]);
    }

    #[test]
    fn what_does_not_end_is_named() {
        for (text, what, start) in [
            ("a 'b", "quoted string", 2),
            ("\"b", "quoted identifier", 0),
            ("x /* /* */", "comment", 2),
            ("$a$ $$", "dollar-quoted string", 0),
            ("E'\\'", "quoted string", 0),
        ] {
            assert_eq!(split(text), Err(Unterminated { what, start }), "{text}");
        }
    }

    #[test]
    fn comments_become_spaces_of_the_same_length() {
        let found = split("a/*é*/b -- x\nc").expect("terminated");
        assert_eq!(found[0].plain, "a      b     \nc");
        assert_eq!(found[0].plain.len(), found[0].text.len());
    }

    #[test]
    fn words_and_arguments() {
        let mut words = Words::new("  Ban [::1]:5432 'a b' \"c\"\"d\"  k=v ");
        assert_eq!(words.word().as_deref(), Some("ban"));
        assert_eq!(words.argument().as_deref(), Some("[::1]:5432"));
        assert_eq!(words.argument().as_deref(), Some("a b"));
        assert_eq!(words.argument().as_deref(), Some("c\"d"));
        assert_eq!(words.argument_before('=').as_deref(), Some("k"));
        assert!(words.eat_sign('='));
        assert_eq!(words.rest(), "v");
        assert!(!words.eat("w"));
        assert!(words.eat("v") && words.is_done());
    }
}
