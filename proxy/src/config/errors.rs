//! Owns what is said about a bad configuration: every problem with its place in the file. It must
//! not show secrets, although the lines around a problem are shown.

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, SourceCode};
use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// One thing that is wrong, or only suspicious.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether the configuration can be used all the same.
    pub severity: Severity,
    /// Line in the file, from 1; 0 when the file as a whole is meant.
    pub line: usize,
    /// Section and key, for example `database.pool_size`.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    span: Range<usize>,
}

/// Weight of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but somebody should look at it.
    Warning,
}

/// Everything that is wrong with a configuration file. `Display` gives one line for each problem:
/// `file:line: key: message`.
#[derive(Debug, Clone)]
pub struct ConfigErrors {
    file: Arc<str>,
    text: Arc<str>,
    problems: Vec<Problem>,
}

impl ConfigErrors {
    /// A file that could not be read at all.
    pub(crate) fn unreadable(file: &str, message: String) -> Self {
        let problems = vec![Problem {
            severity: Severity::Error,
            line: 0,
            key: String::new(),
            message,
            help: None,
            span: 0..0,
        }];
        Self { file: file.into(), text: "".into(), problems }
    }

    /// `text` must have its secrets masked already.
    pub(crate) fn new(file: &str, text: &str, problems: Vec<Problem>) -> Self {
        Self { file: file.into(), text: text.into(), problems }
    }

    /// The problems, in the order of the file.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// One plain line for one problem.
    pub fn line(&self, problem: &Problem) -> String {
        let mut line = self.file.to_string();
        if problem.line > 0 {
            line += &format!(":{}", problem.line);
        }
        if !problem.key.is_empty() {
            line += &format!(": {}", problem.key);
        }
        line += &format!(": {}", problem.message);
        if let Some(help) = &problem.help {
            line += &format!(" ({help})");
        }
        line
    }

    /// All problems for people, with the lines of the file they are about.
    pub fn report(&self, color: bool) -> String {
        let theme =
            if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_width(100);
        let mut out = String::new();
        for problem in &self.problems {
            let excerpt = Excerpt { errors: self, problem };
            if problem.line == 0 || handler.render_report(&mut out, &excerpt).is_err() {
                out += &self.line(problem);
            }
            out += "\n";
        }
        out
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&self.line(problem))?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// One problem as miette shows it.
#[derive(Debug)]
struct Excerpt<'a> {
    errors: &'a ConfigErrors,
    problem: &'a Problem,
}

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { errors, problem } = self;
        write!(f, "{}:{}: {}", errors.file, problem.line, problem.message)
    }
}

impl std::error::Error for Excerpt<'_> {}

impl Diagnostic for Excerpt<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.problem.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        self.problem.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.errors.text)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label =
            LabeledSpan::new_with_span(Some(self.problem.key.clone()), self.problem.span.clone());
        Some(Box::new(std::iter::once(label)))
    }
}

/// Collects problems while a file is read.
#[derive(Debug)]
pub(crate) struct Problems<'a> {
    text: &'a str,
    list: RefCell<Vec<Problem>>,
}

impl<'a> Problems<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, list: RefCell::new(Vec::new()) }
    }

    /// The line `span` begins in, from 1.
    pub(crate) fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        before.bytes().filter(|&byte| byte == b'\n').count() + 1
    }

    /// Notes an error at `span`.
    pub(crate) fn error(
        &self,
        span: &Range<usize>,
        key: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(Severity::Error, span, key.into(), message.into(), help.into());
    }

    /// Notes a warning at `span`.
    pub(crate) fn warning(
        &self,
        span: &Range<usize>,
        key: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(Severity::Warning, span, key.into(), message.into(), help.into());
    }

    fn add(
        &self,
        severity: Severity,
        span: &Range<usize>,
        key: String,
        message: String,
        help: String,
    ) {
        let line = self.line(span);
        let help = (!help.is_empty()).then_some(help);
        let problem = Problem { severity, line, key, message, help, span: span.clone() };
        let mut list = self.list.borrow_mut();
        if !list.contains(&problem) {
            list.push(problem);
        }
    }

    /// Whether there is an error so far.
    pub(crate) fn has_errors(&self) -> bool {
        self.list.borrow().iter().any(|problem| problem.severity == Severity::Error)
    }

    /// The errors and the warnings, each in the order of the file.
    pub(crate) fn into_parts(self) -> (Vec<Problem>, Vec<Problem>) {
        let mut list = self.list.into_inner();
        list.sort_by_key(|problem| (problem.span.start, problem.span.end));
        list.into_iter().partition(|problem| problem.severity == Severity::Error)
    }
}
