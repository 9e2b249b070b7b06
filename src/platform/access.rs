//! Who may call what: accounts' tokens, endpoints' own keys, workers' tokens.
//!
//! `Authorization` carries a token as it is or after `Bearer ` (`platform.md` 1). Where no account
//! is known (a loopback `flash run`) everyone may call everything.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use http::{HeaderMap, header};

use crate::server::guard::same;

/// Accounts and their tokens.
#[derive(Debug, Default)]
pub struct Access {
    /// Account by token.
    tokens: RwLock<HashMap<String, String>>,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Nobody was asked.
    Anyone,
    /// An account.
    Account(String),
    /// Somebody with a token that is no account's: an endpoint's key, a worker's token, or wrong.
    Token(String),
    /// Somebody without a token.
    Nobody,
}

impl Access {
    /// Lets `token` open `account`.
    pub fn admit(&self, token: String, account: String) {
        self.tokens.write().unwrap_or_else(PoisonError::into_inner).insert(token, account);
    }

    /// Forgets an account: its tokens open nothing any more.
    pub fn dismiss(&self, account: &str) {
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, known| known != account);
    }

    /// Whether nobody is asked for a token.
    pub fn is_open(&self) -> bool {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Returns who sent a request with these headers.
    pub fn caller(&self, headers: &HeaderMap) -> Caller {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        if tokens.is_empty() {
            return Caller::Anyone;
        }
        match token(headers) {
            None => Caller::Nobody,
            Some(token) => match tokens.get(token) {
                Some(account) => Caller::Account(account.clone()),
                None => Caller::Token(token.to_owned()),
            },
        }
    }
}

impl Caller {
    /// Whether it may act as a client of an endpoint of `account` whose own key is `key`.
    pub fn opens(&self, account: &str, key: Option<&str>) -> bool {
        match self {
            Self::Anyone => true,
            Self::Account(own) => own == account,
            Self::Token(token) => key.is_some_and(|key| same(token, key)),
            Self::Nobody => false,
        }
    }
}

/// The token of a request: the value of `Authorization`, with or without `Bearer `.
pub fn token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim();
    let bare = match value.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest.trim(),
        _ if value.eq_ignore_ascii_case("bearer") => "",
        _ => value,
    };
    (!bare.is_empty()).then_some(bare)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))])
    }

    #[test]
    fn token_comes_bare_or_after_bearer() {
        for value in ["t0ken", "Bearer t0ken", "bearer  t0ken"] {
            assert_eq!(token(&headers(value)), Some("t0ken"), "{value}");
        }
        assert_eq!(token(&headers("Bearer ")), None);
        assert_eq!(token(&HeaderMap::new()), None);
    }

    #[test]
    fn account_opens_its_own_endpoints_and_a_key_only_one() {
        let access = Access::default();
        assert_eq!(access.caller(&HeaderMap::new()), Caller::Anyone);
        access.admit("a".to_owned(), "first".to_owned());
        let account = access.caller(&headers("Bearer a"));
        assert!(account.opens("first", None) && !account.opens("second", Some("k")));
        let key = access.caller(&headers("k"));
        assert!(key.opens("second", Some("k")) && !key.opens("first", Some("other")));
        assert!(!access.caller(&HeaderMap::new()).opens("first", Some("")));
    }
}
