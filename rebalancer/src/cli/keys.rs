//! Owns how keys are named on the command line, beside their distribution.

use crate::plan::text::KeysText;
use clap::Args;

/// Keys of the distribution that is named beside them.
#[derive(Debug, Args)]
pub(super) struct KeysArguments {
    /// Keys from this border on; without it from the very beginning.
    #[arg(long, value_name = "BORDER", requires = "distribution", allow_hyphen_values = true)]
    from: Option<String>,
    /// Keys up to this border, which is not included; without it up to the very end.
    #[arg(long, value_name = "BORDER", requires = "distribution", allow_hyphen_values = true)]
    to: Option<String>,
    /// This value of a list; can be repeated.
    #[arg(long, value_name = "VALUE", requires = "distribution", allow_hyphen_values = true,
          conflicts_with_all = ["from", "to"])]
    value: Vec<String>,
}

impl KeysArguments {
    /// As they were given.
    pub(super) fn text(&self) -> KeysText {
        let values = (!self.value.is_empty()).then(|| self.value.clone());
        KeysText { from: self.from.clone(), to: self.to.clone(), values }
    }
}
