//! Whether the provider sends anything to the hook.

use serde_json::Value;

use super::{RecoverError, Recoverer};

impl Recoverer<'_> {
    /// Errs if the provider has switched the hook off: nothing is listed then, so that nothing is missing either.
    pub fn check_hook(&self) -> Result<(), RecoverError> {
        let recovery = self.recover.recovery;
        if recovery.switched_off.is_empty() {
            return Ok(());
        }
        let answer = self.api.get(&self.api.url(""), None)?;
        self.check_list(&answer)?;
        let hook: Value = serde_json::from_str(answer.text()?).unwrap_or_default();
        let found = recovery.switched_off.iter().find_map(|off| {
            let value = hook.pointer(off.member)?;
            off.value.is(value).then_some((off, value))
        });
        let Some((off, value)) = found else { return Ok(()) };
        let (title, member) = (recovery.title, off.member.trim_start_matches('/'));
        Err(RecoverError::Refused(format!(
            "{title} sends nothing, the hook is off ({member}: {value}): {}",
            off.advice
        )))
    }
}
