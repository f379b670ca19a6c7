//! `success_when`: whether an attempt has succeeded, by what it has got back.

use std::sync::Arc;
use std::time::Duration;

use super::ActionReport;
use crate::event::Outcome;
use crate::template::{Answer, AnswerText, Expression, Scope};

/// The most of an answer or an output that a condition sees: far more than any service says about one request, and little
/// enough for the smallest machine.
pub(super) const MAX_ANSWER_BYTES: usize = 1 << 20;

/// What an attempt has got back, and what that means without a condition.
pub(super) struct Result {
    pub(super) answer: Answer,
    pub(super) report: ActionReport,
    /// How long the destination asks to wait.
    pub(super) wait: Option<Duration>,
}

impl Result {
    /// The status or exit code must be a success too, unless the condition itself asks for it.
    ///
    /// Where the condition fails, or cannot be evaluated, another attempt may get another answer: it is retried, unless the
    /// status or exit code excludes that.
    pub(super) fn judge(self, condition: &Expression, scope: &Scope) -> ActionReport {
        let Result { answer, report, wait } = self;
        let code = if matches!(answer, Answer::Http { .. }) { "status" } else { "exit_code" };
        let is_good = report.outcome == Outcome::Success;
        if !is_good && !condition.names_of_answer(code) {
            return report;
        }
        let outcome = if is_good { Outcome::Retry { after: wait } } else { report.outcome };
        let detail = match condition.holds(&scope.with_answer(answer)) {
            Ok(true) => return ActionReport { outcome: Outcome::Success, ..report },
            Ok(false) if is_good => format!("success_when is false: {}", report.detail),
            Ok(false) => report.detail,
            Err(error) => format!("success_when cannot be evaluated ({error}): {}", report.detail),
        };
        ActionReport { outcome, detail }
    }
}

/// A body or an output as text. `missing` says why it is not whole.
pub(super) fn text(bytes: &[u8], missing: Option<String>) -> AnswerText {
    match missing {
        Some(why) => AnswerText::Partial(why),
        None => AnswerText::Whole(Arc::from(String::from_utf8_lossy(bytes))),
    }
}

/// Why a longer text is not whole.
pub(super) fn too_long(what: &str) -> String {
    format!("the {what} is longer than {} MiB", MAX_ANSWER_BYTES >> 20)
}
