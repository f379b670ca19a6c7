//! How a source verifies that a delivery is genuine.

/// `K` is a reference to a secret in the configuration, and the key itself in the receiver.
#[derive(Clone, Debug)]
pub enum Verification<K> {
    /// Signed with any one of these: there are several while a secret is being changed.
    Secrets(Vec<K>),
    /// The provider sends the secret in a handshake. Until the operator has configured it, every delivery is rejected.
    Awaited,
    /// The operator has configured `verify = "none"`.
    Nothing,
    /// The built-in source without a secret. It verifies nothing, and refuses deliveries that show that they come from
    /// elsewhere.
    LocalOnly,
}

impl<K> Verification<K> {
    /// The secrets; none unless deliveries are signed.
    pub fn secrets(&self) -> &[K] {
        if let Verification::Secrets(secrets) = self { secrets } else { &[] }
    }

    /// A warning for the operator if the source verifies nothing, or nothing yet.
    pub fn warning(&self) -> Option<&'static str> {
        match self {
            Verification::Secrets(_) => None,
            Verification::Awaited => Some(
                "NO SECRET YET: only the handshake in which the provider sends it is accepted, and the log shows the secret",
            ),
            Verification::Nothing => Some("deliveries are NOT verified (verify = \"none\"): anyone can forge them"),
            Verification::LocalOnly => Some(
                "deliveries are NOT verified, and accepted from this machine only: set GITHUB_WEBHOOK_SECRET to verify them",
            ),
        }
    }

    /// The same with each secret replaced by the result of `fetch`.
    pub fn try_map<T, E>(&self, fetch: impl FnMut(&K) -> Result<T, E>) -> Result<Verification<T>, E> {
        Ok(match self {
            Verification::Secrets(secrets) => {
                Verification::Secrets(secrets.iter().map(fetch).collect::<Result<_, _>>()?)
            }
            Verification::Awaited => Verification::Awaited,
            Verification::Nothing => Verification::Nothing,
            Verification::LocalOnly => Verification::LocalOnly,
        })
    }
}
