//! Owns the way from text to one parsed SELECT. What would make the parser or the translator go
//! deep or long is refused before it is parsed.

use super::Limits;
use super::error::{EngineError, Outcome};
use sqlparser::ast::{Query, Statement};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

/// How deep the parser may go, in its own steps; the nesting of the text is what is limited.
const PARSER_DEPTH_MAX: usize = 400;

/// The one query of a text.
pub(crate) fn parse(sql: &str, limits: &Limits) -> Outcome<Query> {
    if sql.len() > limits.text_bytes_max {
        let message = format!("statement is longer than {} bytes", limits.text_bytes_max);
        return Err(EngineError::limit(message));
    }
    if sql.contains('\0') {
        return Err(EngineError::new("22021", "invalid byte sequence for encoding \"UTF8\": 0x00"));
    }
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, sql).tokenize_with_location();
    let mut tokens = tokens.map_err(|error| {
        let position = position(sql, error.location);
        EngineError::new("42601", "syntax error").detail(error.message).at(position)
    })?;
    measure(&tokens, limits)?;
    spell_out_table(&mut tokens);
    let parser = Parser::new(&dialect).with_recursion_limit(PARSER_DEPTH_MAX);
    let mut parser = parser.with_tokens_with_locations(tokens);
    let statements = parser.parse_statements().map_err(|error| syntax(sql, error))?;
    only_query(statements)
}

/// `TABLE name …` as `SELECT * FROM name …`: the parser knows it as no statement.
fn spell_out_table(tokens: &mut Vec<TokenWithSpan>) {
    let is_space = |token: &TokenWithSpan| matches!(token.token, Token::Whitespace(_));
    let Some(first) = tokens.iter().position(|token| !is_space(token)) else { return };
    let span = tokens[first].span;
    if !matches!(&tokens[first].token, Token::Word(word) if word.keyword == Keyword::TABLE) {
        return;
    }
    let words = [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")];
    let words = words.map(|token| TokenWithSpan { token, span });
    tokens.splice(first..=first, words);
}

/// The nesting and the operators of a text, within the limits.
fn measure(tokens: &[TokenWithSpan], limits: &Limits) -> Outcome<()> {
    let (mut depth, mut operators) = (0_usize, 0_usize);
    for token in tokens {
        match &token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
            Token::Word(word) => match word.keyword {
                Keyword::CASE => depth += 1,
                Keyword::END => depth = depth.saturating_sub(1),
                Keyword::NoKeyword => {}
                _ => operators += 1,
            },
            Token::Whitespace(_)
            | Token::Comma
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::Period => {}
            _ => operators += 1,
        }
        if depth > limits.nesting_max {
            let message = format!("statement is nested deeper than {} levels", limits.nesting_max);
            return Err(EngineError::new("54001", message));
        }
    }
    if operators > limits.operators_max {
        let message =
            format!("statement has more than {} operators and keywords", limits.operators_max);
        return Err(EngineError::new("54001", message));
    }
    Ok(())
}

fn only_query(mut statements: Vec<Statement>) -> Outcome<Query> {
    if statements.len() > 1 {
        return Err(EngineError::new("42601", "cannot run more than one statement at once"));
    }
    match statements.pop() {
        Some(Statement::Query(query)) => Ok(*query),
        Some(_) => Err(EngineError::refused("this statement")
            .detail("The console reads its tables by SELECT, VALUES and TABLE.")
            .hint("SHOW HELP lists the commands of the console.")),
        None => Err(EngineError::new("42601", "statement is empty")),
    }
}

/// The parser's words as a syntax error, with the place that ends them.
fn syntax(sql: &str, error: ParserError) -> EngineError {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
        ParserError::RecursionLimitExceeded => {
            return EngineError::new("54001", "statement is nested too deep");
        }
    };
    let (detail, place) = match text.rsplit_once(" at Line: ") {
        Some((detail, place)) => (detail.to_owned(), place.split_once(", Column: ")),
        None => (text.clone(), None),
    };
    let place = place.and_then(|(line, column)| {
        Some(Location::new(line.trim().parse().ok()?, column.trim().parse().ok()?))
    });
    let near = detail.rsplit_once("found: ").map(|(_, token)| token.to_owned());
    let message = match near {
        Some(token) if token == "EOF" => "syntax error at end of input".to_owned(),
        Some(token) => format!("syntax error at or near \"{token}\""),
        None => "syntax error".to_owned(),
    };
    let error = EngineError::new("42601", message).detail(format!("{detail}."));
    let error = error.hint("SHOW HELP lists the commands of the console.");
    error.at(place.and_then(|place| position(sql, place)))
}

/// A place as characters from 1.
pub(crate) fn position(sql: &str, place: Location) -> Option<usize> {
    let line = usize::try_from(place.line).ok()?.checked_sub(1)?;
    let column = usize::try_from(place.column).ok()?;
    let before = sql.split_inclusive('\n').take(line);
    Some(before.map(|line| line.chars().count()).sum::<usize>() + column)
}
