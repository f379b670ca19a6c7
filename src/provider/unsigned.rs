//! What a source reads from a delivery although it is not signed: anyone who has captured one delivery can send it again with
//! other values there.

use super::algorithm::Algorithm;
use super::format::{Format, Variable};
use super::preset::Signs;
use super::selector::Selector;
use super::verifier::Verifier;

/// The field of a form that holds its JSON.
const PAYLOAD: &str = "payload";

/// Which values are not signed, with the places from which they are read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unsigned<'a> {
    pub body: Body,
    pub id: Vec<&'a Selector>,
    pub event_type: Vec<&'a Selector>,
}

/// What of the body is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    #[default]
    Signed,
    /// Some values are, and the rest is not.
    Partly,
    /// Nothing is: the delivery holds the secret itself.
    Unsigned,
}

impl Verifier {
    pub fn unsigned(&self) -> Unsigned<'_> {
        let body = self.signed_body();
        Unsigned { body, id: self.unsigned_places(&self.id, body), event_type: self.unsigned_places(&self.event, body) }
    }

    fn signed_body(&self) -> Body {
        if let Some(custom) = &self.preset.custom {
            return match custom.signs {
                Signs::Body => Body::Signed,
                Signs::Values(_) => Body::Partly,
                Signs::Nothing => Body::Unsigned,
            };
        }
        let signed = &self.scheme.signed;
        let variables = [Variable::Body, Variable::Payload, Variable::FormSorted];
        let is_payload = |place: &Selector| matches!(place, Selector::Form(name) if name == PAYLOAD);
        match self.scheme.alg {
            Algorithm::Token => Body::Unsigned,
            _ if variables.into_iter().any(|variable| signed.has(variable)) => Body::Signed,
            _ if signed.selectors().any(is_payload) => Body::Signed,
            _ => Body::Partly,
        }
    }

    fn unsigned_places<'a>(&'a self, formats: &'a [Format], body: Body) -> Vec<&'a Selector> {
        formats.iter().flat_map(Format::selectors).filter(|selector| !self.is_signed(selector, body)).collect()
    }

    fn is_signed(&self, selector: &Selector, body: Body) -> bool {
        let is_in_body = matches!(selector.main(), Selector::Json(_) | Selector::Form(_) | Selector::Beside(_));
        match body {
            Body::Unsigned => false,
            Body::Signed if is_in_body => true,
            _ => match self.preset.custom.as_ref().map(|custom| custom.signs) {
                Some(Signs::Values(signed)) => signed.contains(&selector.to_string().as_str()),
                Some(_) => false,
                None => self.scheme.signed.selectors().any(|signed| signed == selector),
            },
        }
    }
}
