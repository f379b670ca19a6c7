//! Whether the provider sends anything to the hook.

use serde_json::Value;

use super::{Recoverer, Trouble};
use crate::provider::SwitchedOff;

impl Recoverer<'_> {
    /// Errs if the provider has switched the hook off: nothing is listed then, so that nothing is missing either.
    pub fn check_hook(&self) -> Result<(), Trouble> {
        let recovery = self.recover.recovery;
        if recovery.switched_off.is_empty() {
            return Ok(());
        }
        let answer = self.api.get(&self.api.url(""), None)?;
        self.check_list(&answer)?;
        let hook: Value = serde_json::from_str(answer.text()?).unwrap_or_default();
        let is_off = |off: &&SwitchedOff| hook.pointer(off.member).is_some_and(|value| off.value.is(value));
        let Some(off) = recovery.switched_off.iter().find(is_off) else { return Ok(()) };
        let (title, member) = (recovery.title, off.member.trim_start_matches('/'));
        let value = hook.pointer(off.member).unwrap_or(&Value::Null);
        Err(Trouble::Refused(format!("{title} sends nothing, the hook is off ({member}: {value}): {}", off.advice)))
    }
}
