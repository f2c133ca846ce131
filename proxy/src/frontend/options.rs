//! Owns the start-up parameter `options`: the server command line that clients like libpq pass
//! (`PGOPTIONS`), taken apart by PostgreSQL's own rules. Only settings are understood.

/// Splits `options` into settings: `-c name=value`, `-cname=value` and `--name=value`.
///
/// # Errors
/// A primary message (SQLSTATE 42601) when anything else stands there.
pub(super) fn parse_options(options: &str) -> Result<Vec<(String, String)>, String> {
    let mut words = split_words(options).into_iter();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let setting = if let Some(setting) = word.strip_prefix("--") {
            setting.to_owned()
        } else if word == "-c" {
            words.next().ok_or("option -c requires an argument")?
        } else if let Some(setting) = word.strip_prefix("-c") {
            setting.to_owned()
        } else {
            return Err(format!("invalid command-line argument for server process: {word}"));
        };
        match setting.split_once('=') {
            // As on PostgreSQL's command line, dashes in names stand for underscores.
            Some((name, value)) if !name.is_empty() => {
                settings.push((name.replace('-', "_"), value.to_owned()));
            }
            _ => return Err(format!("option {word} requires a value")),
        }
    }
    Ok(settings)
}

/// White space parts words; a backslash takes the next character as it is.
fn split_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(options: &str) -> Result<Vec<(String, String)>, String> {
        parse_options(options)
    }

    fn settings(pairs: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        Ok(pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    #[test]
    fn every_spelling_of_a_setting() {
        assert_eq!(parsed(""), settings(&[]));
        assert_eq!(parsed(" \t "), settings(&[]));
        assert_eq!(
            parsed("-c a=1 -cb=2  --work-mem=64MB -c search_path=x,y"),
            settings(&[("a", "1"), ("b", "2"), ("work_mem", "64MB"), ("search_path", "x,y")])
        );
        assert_eq!(parsed("-c a=b=c -c d="), settings(&[("a", "b=c"), ("d", "")]));
    }

    #[test]
    fn backslashes_protect() {
        assert_eq!(parsed(r"-c a=x\ y"), settings(&[("a", "x y")]));
        assert_eq!(parsed(r"-c a=\\ -c b=\'"), settings(&[("a", "\\"), ("b", "'")]));
        assert_eq!(parsed("-c a=x\\"), settings(&[("a", "x")]));
    }

    #[test]
    fn anything_else_is_refused() {
        for options in ["-c", "-c a", "--a", "-c =1", "--", "-d 5", "x", "-S", "-c\\ a=1 z"] {
            assert!(parsed(options).is_err(), "{options}");
        }
    }
}
