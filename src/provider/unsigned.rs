//! What a source reads from a delivery although it is not signed: anyone who has captured one delivery can send it again
//! with other values there.

use super::algorithm::Algorithm;
use super::format::{Format, Variable};
use super::parts::Forms;
use super::preset::Signs;
use super::scheme::Scheme;
use super::selector::Selector;
use super::verifier::Verifier;
use crate::http::form::PAYLOAD;

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
        match self.scheme.alg {
            Algorithm::Token => Body::Unsigned,
            _ if self.signs_whole_body() || self.signs_payload_alone() => Body::Signed,
            _ => Body::Partly,
        }
    }

    fn signs_whole_body(&self) -> bool {
        self.preset.custom.is_some()
            || [Variable::Body, Variable::FormSorted].into_iter().any(|variable| self.scheme.signed.has(variable))
    }

    /// Whether it reads the field `payload` of a form, and no other value in the body, to verify it.
    fn signs_payload_alone(&self) -> bool {
        let Scheme { sig, ts, signed, .. } = &self.scheme;
        let is_payload = |place: &&Selector| matches!(place, Selector::Form(name) if name == PAYLOAD);
        let read = signed.selectors().chain([sig]).chain(ts).flat_map(Selector::places);
        let (payload, others): (Vec<_>, Vec<_>) = read.filter(|place| place.is_in_body()).partition(is_payload);
        others.is_empty() && (signed.has(Variable::Payload) || !payload.is_empty())
    }

    /// How a form is read: its document is no more than what is proven.
    pub fn form_use(&self) -> Forms {
        match self.signed_body() {
            _ if !self.forms => Forms::Never,
            Body::Partly => Forms::Fields,
            Body::Signed if !self.signs_whole_body() => Forms::PayloadAlone,
            // A token proves who has sent the whole body.
            Body::Signed | Body::Unsigned => Forms::Payload,
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
