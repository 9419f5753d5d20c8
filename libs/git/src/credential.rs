//! What opens a private repository: given with a call, used once, and kept nowhere by this crate.

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};

/// What forges take as the user of a token.
const TOKEN_USER: &str = "x-access-token";

/// `Debug` shows none of the secrets. Serialized it holds them: that is for the pipe to the child, and for what is
/// encrypted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Credential {
    /// For http and https.
    Token {
        user: String,
        #[serde(serialize_with = "expose")]
        token: SecretString,
    },
    SshKey {
        /// As `ssh-keygen` writes it.
        #[serde(serialize_with = "expose")]
        key: SecretString,
        /// Empty: the key is not encrypted.
        #[serde(serialize_with = "expose")]
        passphrase: SecretString,
    },
}

impl Credential {
    /// What a call gave; what is empty was not given. A key goes before a token.
    pub fn given(user: String, token: String, ssh_key: String, passphrase: String) -> Option<Self> {
        if !ssh_key.is_empty() {
            Some(Self::SshKey {
                key: ssh_key.into(),
                passphrase: passphrase.into(),
            })
        } else if !token.is_empty() {
            Some(Self::Token {
                user: if user.is_empty() { TOKEN_USER.to_owned() } else { user },
                token: token.into(),
            })
        } else {
            None
        }
    }
}

fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}
